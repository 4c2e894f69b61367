"""SalientGrads, SNIP and GraSP against their pseudo-code in NumPy, and what is promised of their masks and counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import errors
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.config import registry
from fedjax_sparse.data import population as populations
from fedjax_sparse.models import model as models
from fedjax_sparse.rounds.masked_averaging import masked_gradient
from fedjax_sparse.rounds.scored_mask import mean_score, score_on_batch
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.setting import rate_by_round
from fedjax_sparse.sparsity import masks, saliency
from fedjax_sparse.types import Client, State
from tests import toy
from tests.algorithms import mlp_twin as twin

SIZE, KERNELS = 43, 35
KERNEL_NAMES = ("w1", "w2")
N = len(toy.SIZES)


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def setting(**options):
    """The toy problem, where a batch is all that a client holds."""
    return toy.setting(**{"local_epochs": 3, "batch_size": twin.WHOLE, **options})


def logit_slope(logits, y):
    """The gradient of minus the mean logit of the true class."""
    return -np.eye(logits.shape[1])[y] / len(y)


def saliency_twin(problem, w, *, weighted=False, slope=twin.cross_entropy_slope):
    """|w g| of the kernels, averaged over all clients."""
    weights = np.asarray(toy.SIZES) if weighted else np.ones(N)
    scores = [twin.gradient(w, *twin.client_data(problem, i), slope) for i in range(N)]
    return twin.weighted_mean(
        [{name: np.abs(w[name] * g[name]) for name in twin.NAMES} for g in scores], weights
    )


def mask_twin(w, scores, kept):
    """The largest scores of both kernels together."""
    both = np.concatenate([scores["w1"].ravel(), scores["w2"].ravel()])
    chosen = twin.the_largest(both, np.ones(KERNELS, bool), kept)
    dense = {name: np.ones_like(w[name], bool) for name in twin.NAMES}
    return {**dense, "w1": chosen[:20].reshape(4, 5), "w2": chosen[20:].reshape(5, 3)}


def assert_masked_rounds(run, problem, mask, *, dense_start=False, decay_of_rate=1.0, **local):
    """Three rounds of federated averaging under the mask."""
    (first, _), *after = run
    w = twin.from_tree(first.variables.params)
    np.testing.assert_array_equal(twin.flat(twin.from_tree(first.mask)), twin.flat(mask))
    assert (twin.flat(w)[~twin.flat(mask)] != 0).all() == dense_start
    for t, (server, _) in enumerate(after, start=1):
        ids, present = problem.sampler.draw(0, t)
        rate = 0.1 * decay_of_rate ** (t - 1)
        trained = [
            twin.local_sgd(w, mask, twin.client_data(problem, i), steps=3, rate=rate, **local)
            for i in ids[present]
        ]
        w = twin.weighted_mean(trained, np.asarray(toy.SIZES)[ids[present]])
        found = twin.flat(twin.from_tree(server.variables.params))
        np.testing.assert_allclose(found, twin.flat(w), rtol=1e-12, atol=1e-13)
        assert not found[~twin.flat(mask)].any()


def initial(problem):
    """The weights that a run with seed 0 starts from."""
    key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), programs.INIT))
    return twin.from_tree(problem.model.init(key).params)


@pytest.mark.parametrize(
    ("name", "hyper", "scored", "trained"),
    [
        ("salientgrads", {}, {}, {}),
        (
            "salientgrads",
            {"saliency_loss": "logit", "dense_start": True, "keep_ties": True, "saliency_batches": 3},
            {"slope": logit_slope},
            {"dense_start": True},
        ),
        ("ssfl", {}, {"weighted": True}, {"clip_living": True}),
    ],
    ids=["plain", "official", "ssfl"],
)
def test_three_rounds_agree_with_the_twin(name, hyper, scored, trained):
    problem = setting(clip_norm=0.3, weight_decay=1e-2, lr_schedule="decay:0.998")
    w = initial(problem)
    mask = mask_twin(w, saliency_twin(problem, w, **scored), int(KERNELS * 0.4))
    run = twin.rounds_of(toy.algorithm(name, problem, sparsity=0.6, **hyper), problem, 3)
    assert_masked_rounds(
        run, problem, mask, decay_of_rate=0.998, decay=1e-2, clip=0.3, momentum=0.0, **trained
    )


def prepared(problem, name, ids=tuple(range(N)), **hyper):
    """The mask, the dense weights and the metrics of preparing with these clients in this order."""
    algorithm = toy.algorithm(name, problem, **hyper)
    assert algorithm.prepare is not None
    variables = problem.model.init(jax.random.key(1))
    ids = jnp.asarray(ids, jnp.int32)
    cohort = populations.gather(problem.population, ids, jnp.ones(len(ids), bool))
    state = State(algorithm.init(variables, jax.random.key(2)), ())
    state, metrics = jax.jit(algorithm.prepare)(state, cohort, jax.random.key(3))
    return twin.from_tree(state.server.mask), twin.from_tree(variables.params), jax.device_get(metrics)


def assert_same_mask(one, other):
    np.testing.assert_array_equal(twin.flat(one), twin.flat(other))


def test_order_of_the_clients_leaves_the_mask_unchanged():
    problem = setting()
    mask, *_ = prepared(problem, "salientgrads")
    shuffled, *_ = prepared(problem, "salientgrads", ids=(3, 6, 0, 2, 5, 1, 4))
    assert_same_mask(mask, shuffled)


def test_a_model_without_dropout_scores_alike_in_both_modes():
    masks = [prepared(setting(), "salientgrads", saliency_mode=mode)[0] for mode in ("train", "eval")]
    assert_same_mask(*masks)


@pytest.mark.parametrize("task", ["regression", "text"])
def test_raw_logits_are_for_classes_alone(task):
    problem = setting()
    problem = problem._replace(federation=problem.federation._replace(task=task))
    with pytest.raises(
        errors.UsageError, match=f"--saliency-loss = 'logit' is not valid for {task} data; allowed: cross"
    ):
        toy.algorithm("salientgrads", problem, saliency_loss="logit")


def test_identical_clients_are_one_client():
    problem = setting()
    held = problem.population
    copies = held._replace(index=np.tile(held.index[0], (N, 1)), count=np.full(N, held.count[0]))
    mask, *_ = prepared(problem._replace(population=copies), "salientgrads", saliency_batches=2)
    alone, *_ = prepared(problem, "salientgrads", ids=(0,))
    assert_same_mask(mask, alone)


def test_cross_entropy_and_raw_logits_give_different_masks():
    masks_found = [
        prepared(setting(), "salientgrads", saliency_loss=loss)[0] for loss in ("cross-entropy", "logit")
    ]
    assert (twin.flat(masks_found[0]) != twin.flat(masks_found[1])).sum() >= 4


def test_a_minibatch_is_drawn_from_all_examples_and_scores_are_averaged():
    """In batches of one, each draw scores one of the client's examples; three draws give the mean of three."""
    problem = setting(batch_size=1)
    federation, variables = problem.federation, problem.model.init(jax.random.key(1))
    w = twin.from_tree(variables.params)
    x, y = twin.client_data(problem, 0)
    each = [twin.gradient(w, x[i : i + 1], y[i : i + 1]) for i in range(len(y))]
    each = np.stack([np.abs(twin.flat(w) * twin.flat(g)) for g in each])
    client = one_client(problem)
    everywhere = jax.tree.map(lambda leaf: True, federation.params)
    score = score_on_batch(federation.loss, saliency.snip, everywhere)
    scores, examples = jax.jit(lambda key: mean_score(federation.plan, score, variables, client, key, 3))(
        jax.random.key(0)
    )
    triples = each[:, None, None] + each[None, :, None] + each[None, None, :]
    distance = np.abs(triples / 3 - twin.flat(twin.from_tree(scores))).max(-1)
    assert distance.min() < 1e-12
    assert examples == 3


def test_erk_shares_the_density_between_the_layers():
    """At density 17/35 the layers keep 9 = 4 + 5 and 8 = 5 + 3 entries; biases are dense."""
    mask, w, _ = prepared(setting(), "salientgrads", allocation="erk")
    assert {name: int(leaf.sum()) for name, leaf in mask.items()} == {"b1": 5, "w1": 9, "b2": 3, "w2": 8}
    scores = saliency_twin(setting(), w)
    for name, kept in (("w1", 9), ("w2", 8)):
        chosen = twin.the_largest(scores[name].ravel(), np.ones(w[name].size, bool), kept)
        np.testing.assert_array_equal(mask[name].ravel(), chosen)


@pytest.mark.parametrize(
    ("classes", "kept"),
    [
        (10, {0.5: 5_582_176, 0.7: 3_349_305, 0.8: 2_232_870, 0.9: 1_116_435, 0.95: 558_217}),
        (100, {0.5: 5_605_216, 0.7: 3_363_129, 0.8: 2_242_086, 0.9: 1_121_043, 0.95: 560_521}),
    ],
)
def test_survivors_of_resnet18(classes, kept):
    network = models.build("resnet18", (32, 32, 3), classes, dtype=jnp.float64)
    params = jax.eval_shape(network.init, jax.random.key(0)).params
    federation = setting().federation._replace(params=params, kinds=network.kinds)
    for sparsity, count in kept.items():
        promise = registry.make_algorithm("salientgrads", federation, sparsity=sparsity).declared[0]
        assert promise.how == "exact"
        assert promise.kept is not None
        assert promise.kept(1) == count
        dense = jax.tree.map(lambda kind, here: here == (kind == "kernel"), network.kinds, promise.prunable)
        assert all(jax.tree.leaves(dense))


def first_batch_scores(problem, name, w, client, along=KERNEL_NAMES):
    """|w g| or w H g (H g by differences of g along g's leaves `along`) on the first three examples of a client."""
    x, y = (array[:3] for array in twin.client_data(problem, client))
    g = twin.gradient(w, x, y)
    if name == "snip":
        return {leaf: np.abs(w[leaf] * g[leaf]) for leaf in twin.NAMES}
    eps = 1e-6
    g = {leaf: g[leaf] if leaf in along else np.zeros_like(g[leaf]) for leaf in twin.NAMES}
    ahead, back = ({leaf: w[leaf] + sign * eps * g[leaf] for leaf in twin.NAMES} for sign in (1, -1))
    ahead, back = twin.gradient(ahead, x, y), twin.gradient(back, x, y)
    return {leaf: w[leaf] * (ahead[leaf] - back[leaf]) / (2 * eps) for leaf in twin.NAMES}


@pytest.mark.parametrize(("name", "passes"), [("snip", 1), ("grasp", 3)])
def test_one_clients_first_batch_decides(name, passes):
    problem = setting(batch_size=3)
    mask, w, metrics = prepared(problem, name, sparsity=0.6)
    (client,) = np.flatnonzero(metrics.up.values)
    scores = first_batch_scores(problem, name, w, client)
    assert_same_mask(mask, mask_twin(w, scores, round(KERNELS * (1 - 0.6))))
    np.testing.assert_array_equal(metrics.up.values[client], KERNELS)
    np.testing.assert_array_equal(metrics.down.values, np.where(np.arange(N) == client, SIZE, 0))
    np.testing.assert_array_equal(metrics.down.mask_bits, KERNELS)
    examples = passes * min(3, toy.SIZES[client])
    np.testing.assert_array_equal(metrics.work.examples, np.where(np.arange(N) == client, examples, 0))


@pytest.mark.parametrize("name", ["snip", "grasp"])
@pytest.mark.parametrize(("entries", "kept"), [(653, 326), (681, 340)])
def test_half_of_an_odd_number_of_weights(name, entries, kept):
    """round(N (1 - s)), halves to even, as the code of FedSparsify has it."""
    params = {"w": jax.ShapeDtypeStruct((entries,), jnp.float64)}
    federation = setting().federation._replace(params=params, kinds={"w": "kernel"})
    promise = registry.make_algorithm(name, federation, sparsity=0.5).declared[0]
    assert promise.kept is not None
    assert promise.kept(1) == kept


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_the_model_infers_as_it_scores_unless_asked_to_train(name):
    problem, asked = setting(), []

    def loss_of(of_each, *, train):
        asked.append(train)
        return problem.federation.loss_of(of_each, train=train)

    federation = problem.federation._replace(loss_of=loss_of)
    registry.make_algorithm(name, federation)
    registry.make_algorithm(name, federation, saliency_mode="train")
    assert asked == [False, True]


def test_grasp_over_all_leaves_differentiates_biases_too():
    problem = setting(batch_size=3)
    mask, w, metrics = prepared(problem, "grasp", sparsity=0.6, scope="all")
    (client,) = np.flatnonzero(metrics.up.values)
    scores = twin.flat(first_batch_scores(problem, "grasp", w, client, along=twin.NAMES))
    kept = twin.the_largest(scores, np.ones(SIZE, bool), round(SIZE * (1 - 0.6)))
    np.testing.assert_array_equal(twin.flat(mask), kept)


def test_official_snip_prunes_all_biases():
    mask, _, metrics = prepared(
        setting(), "snip", sparsity=0.5, scope="no-norms", keep_ties=True, mask_from_values=True
    )
    assert not mask["b1"].any()
    assert not mask["b2"].any()
    assert 0 < mask["w1"].sum() + mask["w2"].sum() <= KERNELS
    assert metrics.down.mask_bits[0] == SIZE


def blind(problem):
    """The problem without its first feature: five weights have no gradient and no saliency."""
    x = np.array(problem.population.pool.x)
    x[:, 0] = 0
    pool = problem.population.pool._replace(x=x)
    return problem._replace(population=problem.population._replace(pool=pool))


def test_ties_at_the_threshold():
    """Of 35 kernel entries 33 may stay, and at least five tie at zero."""
    problem = blind(setting())
    for keep_ties, kept in ((False, 33), (True, KERNELS)):
        mask, _, metrics = prepared(problem, "salientgrads", sparsity=0.03, keep_ties=keep_ties)
        assert mask["w1"].sum() + mask["w2"].sum() == kept
        assert metrics.ranking.nonzero <= 30
        assert metrics.ranking.by_index == (0 if keep_ties else 33 - metrics.ranking.nonzero)


def test_messages_by_hand():
    """Everyone scores the dense model and learns the mask once; then living values travel, or those that changed."""
    problem = blind(setting())
    (_, preparation), (_, weights) = twin.rounds_of(toy.algorithm("salientgrads", problem), problem, 1)
    np.testing.assert_array_equal(preparation.up.values, [KERNELS] * N)
    np.testing.assert_array_equal(preparation.down.values, [SIZE] * N)
    np.testing.assert_array_equal(preparation.down.mask_bits, [KERNELS] * N)
    np.testing.assert_array_equal(preparation.work.examples, toy.SIZES)
    living = SIZE - KERNELS + KERNELS // 2
    for message in (weights.up, weights.down):
        np.testing.assert_array_equal(message.values, living)
        np.testing.assert_array_equal(message.located, 0)
        np.testing.assert_array_equal(message.mask_bits, 0)
    changed_only = toy.algorithm("salientgrads", problem, sparsity=0.0, upload="updates", dense_start=True)
    _, (_, updates) = twin.rounds_of(changed_only, problem, 1)
    assert (updates.up.values <= SIZE - 5).all()
    np.testing.assert_array_equal(updates.up.located, updates.up.values)
    np.testing.assert_array_equal(updates.up.universe, SIZE)


def test_a_dense_start_is_sent_dense_once():
    problem = setting()
    run = twin.rounds_of(toy.algorithm("salientgrads", problem, dense_start=True), problem, 2)
    sent = [metrics.down.values.tolist() for _, metrics in run][1:]
    assert sent == [[SIZE] * 4, [SIZE - KERNELS + KERNELS // 2] * 4]


@pytest.mark.usefixtures("loops_as_shipped")
def test_without_sparsity_it_is_fedavg_bit_for_bit():
    problem = setting(batch_size=3)
    dense, *others = (
        [server.variables for server, _ in twin.rounds_of(toy.algorithm(name, problem, **hyper), problem, 3)]
        for name, hyper in (("fedavg", {}), ("salientgrads", {"sparsity": 0.0}), ("snip", {"sparsity": 0.0}))
    )
    for run in others:
        jax.tree.map(np.testing.assert_array_equal, run, dense)


@pytest.mark.parametrize(
    ("options", "same"),
    [({}, True), ({"client_momentum": 0.9}, True), ({"client_momentum": 0.9, "clip_norm": 0.3}, False)],
)
def test_masking_steps_is_masking_gradients_unless_norms_are_clipped(options, same):
    problem = toy.setting(local_steps=20, **options)
    federation = problem.federation
    variables = problem.model.init(jax.random.key(1))
    mask = masks.magnitude(variables.params, 20, jax.tree.map(lambda leaf: True, variables.params))
    start = variables._replace(params=masks.apply(mask, variables.params))
    client = one_client(problem)
    gradient = make_gradient(federation.loss)

    @jax.jit
    def both(key):
        project = functools.partial(masks.apply, mask)
        steps = federation.train(gradient, start, client, jnp.int32(1), key, project)
        gradients = federation.train(masked_gradient(gradient, mask), start, client, jnp.int32(1), key)
        return steps.variables.params, gradients.variables.params

    steps, gradients = (twin.flat(twin.from_tree(params)) for params in both(jax.random.key(4)))
    assert (np.abs(steps - gradients).max() < 1e-12) == same
    assert same or np.abs(steps - gradients).max() > 1e-3


def one_client(problem):
    """Client 0 as local work sees it."""
    population = problem.population
    return Client(
        jnp.int32(0),
        jnp.asarray(population.weight[0]),
        jnp.asarray(population.index[0]),
        jnp.asarray(population.count[0]),
        jax.tree.map(jnp.asarray, population.pool),
    )


def test_learning_rates_of_the_paper():
    """0.1 * 0.998^r; the paper counts rounds from 0."""
    rate = rate_by_round(0.1, "decay:0.998", 999)
    found = [float(rate(jnp.int32(r + 1))) for r in (0, 100, 250, 499, 998)]
    np.testing.assert_allclose(found, [0.1, 0.081857, 0.060623, 0.036825, 0.013561], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        (
            "salientgrads",
            {"sparsity": 0.99},
            "--sparsity = 0.99 leaves none of 35 entries; allowed: at least 1",
        ),
        ("snip", {"sparsity": 0.99}, "--sparsity = 0.99 leaves none of 35 entries; allowed: at least 1"),
        (
            "salientgrads",
            {"sparsity": 0.97, "allocation": "erk"},
            "leaves layer 'Dense_1/kernel' with 0 of 15",
        ),
        ("salientgrads", {"saliency_batches": 0}, "--saliency-batches = 0 is out of range"),
        ("salientgrads", {"allocation": "erkk"}, "unknown --allocation 'erkk'; did you mean 'erk'"),
        ("grasp", {"sparsity": 1.0}, "--sparsity = 1.0 is out of range"),
    ],
)
def test_refusals(name, hyper, message):
    with pytest.raises(errors.UsageError, match=message):
        toy.algorithm(name, setting(), **hyper)
