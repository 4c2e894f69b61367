"""ZeroFL and SWAT against their twin, and what they send and compute."""

import jax
import numpy as np
import pytest

from fedjax_sparse import errors
from fedjax_sparse.config.cards.zerofl import ZeroFL
from tests import toy
from tests.algorithms import mlp_twin
from tests.baselines import personal_problem as problems
from tests.baselines import zerofl_twin as twin

PRUNABLE, DENSE, KERNELS = problems.PRUNABLE, 8, 35
HIDDEN = [False, False, False, True]  # in the library's order; the first layer sees the data
ORDER = [1, 0, 3, 2]  # of the twin's network: w before b


def swat_gradient(problem):
    def grad(client, params, step):
        del step
        x, y = mlp_twin.client_data(problem, client)
        ordered = [params[i] for i in ORDER]
        _, found = twin.swat_gradient(ordered, x, y, [HIDDEN[i] for i in ORDER], 0.6)
        return [found[ORDER.index(i)] for i in range(4)]

    return grad


@pytest.mark.parametrize(
    ("name", "hyper", "scheme"),
    [
        ("zerofl", {"upload": "weights"}, "top_k_weights"),
        ("zerofl", {"upload": "diff-on-weights", "upload_scope": "layer"}, "diff_on_top_k_weights"),
        ("zerofl", {"upload": "diff", "mask_ratio": 0.0}, "top_k_weights_diff"),
        ("zerofl", {"version": "sparsyfed", "mask_ratio": 0.0}, "comparison"),
        ("swat", {}, "top_k_weights"),
    ],
)
def test_three_rounds_agree_with_the_twin(name, hyper, scheme):
    problem = problems.setting(local_epochs=3, weight_decay=0.01)
    algorithm = toy.algorithm(name, problem, sparsity=0.6, **hyper)
    (server, *_), *after = problems.rounds_of(algorithm, problem, 3)
    params = problems.leaves(server.variables.params)
    r_mask = 0.6 if name == "swat" else hyper.get("mask_ratio", 0.2)
    for t, (server, _, metrics) in enumerate(after, start=1):
        assert ("regrowth" in metrics.log) == (name == "zerofl")
        cohort = problems.cohort(problem, t)
        living = sum(np.count_nonzero(params[i]) for i in (1, 3))
        shared = (
            swat_gradient(problem), params, HIDDEN, PRUNABLE, cohort, [toy.SIZES[k] for k in cohort], range(3),
        )  # fmt: skip
        options = {"lr": 0.1, "sparsity": 0.6, "r_mask": r_mask, "weight_decay": 0.01}
        if scheme == "comparison":
            params = twin.round_of_comparison(*shared, **options)
        else:
            scope = hyper.get("upload_scope", "global")
            params = twin.round_of_original(*shared, scheme=scheme, scope=scope, **options)
        problems.close(problems.leaves(server.variables.params), params)
        sent = KERNELS - round((0.6 - r_mask) * KERNELS)
        np.testing.assert_array_equal(metrics.up.values, sent + DENSE)
        np.testing.assert_array_equal(metrics.up.located, sent if sent < KERNELS else 0)
        np.testing.assert_array_equal(metrics.down.values, living + DENSE)
        np.testing.assert_array_equal(metrics.work.weight_grad, [[5, 20, 3, 6]] * 4)
    deployed = problems.leaves(jax.jit(algorithm.model)(server, ()).params)
    problems.close(deployed, params if scheme == "comparison" else twin.active(params, HIDDEN, 0.6))


def test_without_sparsity_it_is_federated_averaging():
    problem = problems.setting()
    *_, (ours, _, _) = problems.rounds_of(toy.algorithm("swat", problem, sparsity=0.0), problem, 2)
    *_, (dense, _, _) = problems.rounds_of(toy.algorithm("fedavg", problem), problem, 2)
    toy.leaves_close(ours.variables, dense.variables)


def test_more_than_everything_cannot_be_sent():
    with pytest.raises(errors.UsageError, match=r"--mask-ratio = 0.3 is above --sparsity = 0.2"):
        ZeroFL(sparsity=0.2, mask_ratio=0.3)


def test_a_perceptron_has_no_convolutions():
    with pytest.raises(errors.UsageError, match="none of this model's layers"):
        toy.algorithm("swat", toy.setting(), sparse_layers="convolutions")
