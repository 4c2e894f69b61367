"""FLASH against its twin: what some clients find, the mask that comes of it, and masks that go on moving."""

import jax
import numpy as np
import pytest

from fedjax_sparse import errors
from fedjax_sparse.simulation import programs
from fedjax_sparse.sparsity import saliency
from tests import toy
from tests.baselines import flash_twin as twin
from tests.baselines import personal_problem as problems
from tests.baselines.twin_steps import kept

PRUNABLE, DENSE, KERNELS = problems.PRUNABLE, 8, 35
EPOCHS = 5  # of the first stage: enough for layers to change places here
HYPER = {"sparsity": 0.6, "first_clients": 0.5, "first_epochs": EPOCHS}


def uniform_problem(**options):
    problem = problems.setting(**options)
    return problem._replace(population=problem.population._replace(weight=np.ones(problems.CLIENTS)))


def drawn(problem, key):
    return problems.leaves(saliency.random(key, problem.federation.params))


def start(problem, share=twin.shares_exact):
    """The masked model and the mask after the first stage, and who took part in it."""
    key = jax.random.fold_in(jax.random.key(0), programs.PREPARE)
    choice_key, first_key, work_key, mask_key = jax.random.split(key, 4)
    some = jax.random.choice(choice_key, problems.CLIENTS, (4,), replace=False).tolist()

    def growth(client):
        _, grow_key = jax.random.split(jax.random.fold_in(work_key, client))
        return [drawn(problem, jax.random.fold_in(grow_key, e)) for e in range(EPOCHS - 1)]

    lowest_first = [[-s for s in drawn(problem, key)] for key in (first_key, mask_key)]
    params, masks = twin.spdst_start(
        problems.gradient(problem), problems.initial(problem), PRUNABLE, 0.4, some,
        first=lowest_first[0], growth=growth, server=lowest_first[1], epochs=EPOCHS, steps_per_epoch=1, lr=0.1,
        share=share,
    )  # fmt: skip
    return params, masks, some


def test_three_rounds_of_a_fixed_mask_agree_with_the_twin():
    problem = uniform_problem(local_epochs=3)
    (server, _, metrics), *after = problems.rounds_of(toy.algorithm("flash", problem, **HYPER), problem, 3)
    params, masks, some = start(problem)
    problems.close(problems.leaves(server.mask), masks)
    assert kept(masks, PRUNABLE) != [8, 6]
    assert sum(kept(masks, PRUNABLE)) <= 14
    asked = np.isin(range(problems.CLIENTS), some)
    np.testing.assert_array_equal(metrics.up.values, np.where(asked, 2, 0))
    np.testing.assert_array_equal(metrics.down.values, np.where(asked, 14 + DENSE, 0))
    np.testing.assert_array_equal(metrics.down.mask_bits, KERNELS)
    np.testing.assert_array_equal(metrics.work.examples, np.where(asked, EPOCHS * np.array(toy.SIZES), 0))
    for t, (server, _, _) in enumerate(after, start=1):
        cohort = problems.cohort(problem, t)
        params = twin.spdst_round(problems.gradient(problem), params, masks, cohort, range(3), 0.1)
        problems.close(problems.leaves(server.variables.params), params)


@pytest.mark.parametrize(("source", "growth"), [("masks", "exact"), ("mean", "rounded-up")])
def test_three_rounds_of_moving_masks_agree_with_the_twin(source, growth):
    problem = uniform_problem(local_epochs=4)
    algorithm = toy.algorithm(
        "flash-jmwst", problem, adjust_every=2, densities_from=source, growth_shares=growth, **HYPER
    )
    share = {"exact": twin.shares_exact, "rounded-up": twin.shares_official}[growth]
    (server, *_), *after = problems.rounds_of(algorithm, problem, 3)
    params, masks, _ = start(problem, share)
    problems.close(problems.leaves(server.mask), masks)
    for t, (server, _, metrics) in enumerate(after, start=1):
        cohort, before = problems.cohort(problem, t), masks
        _, work_key = jax.random.split(problems.round_key(t))

        def scores(client, work_key=work_key):
            return drawn(problem, jax.random.split(jax.random.fold_in(work_key, client))[1])

        params, masks = twin.jmwst_round(
            problems.gradient(problem), params, masks, PRUNABLE, cohort, range(4), scores, t - 1,
            lr=0.1, density=0.4, r_int=2, source=source, share=share,
        )  # fmt: skip
        problems.close(problems.leaves(server.variables.params), params)
        problems.close(problems.leaves(server.mask), masks)
        living = sum(kept(before, PRUNABLE))
        sent = metrics.up.values - DENSE
        assert (sent >= living).all()
        assert growth == "rounded-up" or sent.max() == living
        np.testing.assert_array_equal(metrics.up.located, sent if t % 2 else 0)
        np.testing.assert_array_equal(metrics.down.values, living + DENSE)


def without_biases(problem):
    """The problem, whose biases start at zero."""

    def init(key):
        variables = problem.model.init(key)
        params = jax.tree.map(lambda w: w if w.ndim > 1 else jax.numpy.zeros_like(w), variables.params)
        return variables._replace(params=params)

    return problem._replace(model=problem.model._replace(init=init))


@pytest.mark.parametrize("fair", [True, False])
def test_three_rounds_of_sparsyfeds_version_agree_with_the_twin(fair):
    problem = without_biases(problems.setting(local_epochs=3, weight_decay=0.01))
    algorithm = toy.algorithm("flash", problem, sparsity=0.6, version="sparsyfed", freeze_zeros=not fair)
    (server, *_), *after = problems.rounds_of(algorithm, problem, 3)
    params = problems.leaves(server.variables.params)
    for t, (server, *_) in enumerate(after, start=1):
        cohort = problems.cohort(problem, t)
        params = twin.comparison_round(
            problems.gradient(problem), params, PRUNABLE, cohort, [toy.SIZES[k] for k in cohort], range(3),
            first=t == 1, lr=0.1, sparsity=0.6, fair=fair, weight_decay=0.01,
        )  # fmt: skip
        problems.close(problems.leaves(server.variables.params), params)
    assert params[0].any() == fair


def test_a_perceptron_has_no_convolutions():
    with pytest.raises(errors.UsageError, match="none of this model's layers"):
        toy.algorithm("flash", toy.setting(), prune_layers="convolutions")


def test_an_empty_layer_is_refused():
    with pytest.raises(errors.UsageError, match="leaves layer 'Dense_1/kernel' empty"):
        toy.algorithm("flash", toy.setting(), sparsity=0.94)
