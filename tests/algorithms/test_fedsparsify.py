"""FedSparsify against its pseudo-code in NumPy, and what the paper promises of masks, votes and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import errors
from fedjax_sparse.config import registry
from fedjax_sparse.data import population as populations
from fedjax_sparse.models import model as models
from fedjax_sparse.types import State
from tests import toy
from tests.algorithms import mlp_twin as twin

SIZE = 43  # parameters of the toy network
VARIANTS = ("fedsparsify-global", "fedsparsify-local", "random-pruning", "one-shot-pruning")


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def setting(**options):
    """The toy problem, where a batch is all that a client holds."""
    return toy.setting(**{"rounds": 6, "local_epochs": 3, "batch_size": twin.WHOLE, **options})


def sparsity(t, rounds, *, final, start=1, frequency=1, exponent=3):
    """The schedule of the paper with s_0 = 0, one round at a time."""
    tau = frequency * (t // frequency)
    value = final - final * (1 - (tau - start) / (rounds - start)) ** exponent
    return value if t > start and value > 0 else 0.0


def global_twin(problem, w, t, mask, *, final, layerwise=False, velocities=None, **local):
    """One round of FedSparsify-Global: train under the mask, merge, purge. `velocities` are those of clients."""
    ids, present = problem.sampler.draw(0, t)
    velocities = {} if velocities is None else velocities
    trained = [
        twin.local_sgd(
            w, mask, twin.client_data(problem, i), steps=3, velocity=velocities.setdefault(i, {}), **local
        )
        for i in ids[present]
    ]
    w = twin.weighted_mean(trained, np.asarray(toy.SIZES)[ids[present]])
    s = sparsity(t, 6, final=final)
    groups = [[name] for name in twin.NAMES] if layerwise else [list(twin.NAMES)]
    for names in groups:
        values = np.concatenate([np.abs(w[name]).ravel() for name in names])
        alive = np.concatenate([mask[name].ravel() for name in names])
        kept = twin.the_largest(values, alive, len(values) - int(s * len(values)))
        ends = np.cumsum([w[name].size for name in names])[:-1]
        for name, part in zip(names, np.split(kept, ends), strict=True):
            mask = {**mask, name: part.reshape(w[name].shape)}
    return {name: w[name] * mask[name] for name in twin.NAMES}, mask


def local_twin(problem, w, t, mask, *, final, floor, voters, extra, velocities=None, **local):
    """One round of FedSparsify-Local: train, purge at the client, train again, vote, merge."""
    ids, present = problem.sampler.draw(0, t)
    keep = SIZE - int(sparsity(t, 6, final=final) * SIZE)
    trained, ballots = [], []
    for i in ids[present]:
        data = twin.client_data(problem, i)
        if velocities is not None:
            local["velocity"] = velocities.setdefault(i, {})
        w_i = twin.local_sgd(w, mask, data, steps=3, **local)
        m_i = twin.unflat(twin.the_largest(np.abs(twin.flat(w_i)), twin.flat(mask), keep), w)
        w_i = {name: w_i[name] * m_i[name] for name in twin.NAMES}
        w_i = twin.local_sgd(w_i, m_i, data, steps=extra if t > 1 else 0, **local)
        trained.append(w_i)
        ballots.append(m_i)
    held = np.asarray(toy.SIZES)[ids[present]].astype(float)
    needed = max(1, len(held) // 2) if floor else -(-len(held) // 2)
    mask = {name: np.sum([m[name] for m in ballots], axis=0) >= needed for name in twin.NAMES}
    merged = twin.weighted_mean(trained, held)
    if voters:
        share = twin.weighted_mean([{name: m[name] * 1.0 for name in m} for m in ballots], held)
        merged = {name: merged[name] / np.where(share[name] > 0, share[name], 1) for name in twin.NAMES}
    return {name: merged[name] * mask[name] for name in twin.NAMES}, mask


def assert_same_rounds(name, step, problem, **hyper):
    """Three rounds (of six) of the library and of a twin, from the same weights: masks equal, weights to rounding."""
    states = [server for server, _ in twin.rounds_of(toy.algorithm(name, problem, **hyper), problem, 3)]
    w = twin.from_tree(states[0].variables.params)
    mask = twin.from_tree(states[0].mask)
    for t, server in enumerate(states[1:], start=1):
        w, mask = step(problem, w, t, mask)
        np.testing.assert_array_equal(twin.flat(twin.from_tree(server.mask)), twin.flat(mask))
        np.testing.assert_allclose(
            twin.flat(twin.from_tree(server.variables.params)), twin.flat(w), rtol=1e-12, atol=1e-13
        )
    assert 0 < twin.flat(mask).sum() < SIZE


@pytest.mark.parametrize(("layerwise", "official"), [(False, False), (True, True)])
def test_global_agrees_with_its_twin(layerwise, official):
    """With distinct weights none of which is zero, the official rules for ties and values change nothing."""
    problem = setting(client_momentum=0.9, weight_decay=1e-2)

    def step(*where):
        return global_twin(*where, final=0.8, layerwise=layerwise, momentum=0.9, decay=1e-2)

    hyper = {"layerwise": layerwise, "keep_ties": official, "mask_from_values": official}
    assert_same_rounds("fedsparsify-global", step, problem, sparsity=0.8, **hyper)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("name", VARIANTS[:2])
def test_momentum_that_clients_keep_agrees_with_the_twins(name, nesterov):
    """The cohorts overlap, so that some clients go on with a velocity and others start."""
    problem = setting(client_momentum=0.9, client_nesterov=nesterov)
    ids = [set(problem.sampler.draw(0, t)[0]) for t in (1, 2, 3)]
    assert ids[0] & ids[1]
    assert ids[0] ^ ids[1]
    velocities = {}

    def step(*where):
        options = {"final": 0.8, "momentum": 0.9, "nesterov": nesterov, "velocities": velocities}
        if name == "fedsparsify-global":
            return global_twin(*where, **options)
        return local_twin(*where, floor=False, voters=False, extra=2, **options)

    extra = {"fine_tuning_epochs": 2} if name == "fedsparsify-local" else {}
    assert_same_rounds(name, step, problem, sparsity=0.8, keep_momentum=True, **extra)


@pytest.mark.parametrize("name", VARIANTS)
def test_without_momentum_there_is_none_to_keep(name):
    problem = setting()
    runs = [
        twin.rounds_of(toy.algorithm(name, problem, sparsity=0.8, keep_momentum=keep), problem, 3)
        for keep in (False, True)
    ]
    for (plain, _), (keeping, _) in zip(*runs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, plain, keeping)


@pytest.mark.parametrize(
    ("floor", "voters", "extra", "cohort"), [(False, False, 0, 5), (True, True, 2, 5), (True, False, 0, 1)]
)
def test_local_agrees_with_its_twin(floor, voters, extra, cohort):
    def step(*where):
        return local_twin(*where, final=0.8, floor=floor, voters=voters, extra=extra)

    assert_same_rounds(
        "fedsparsify-local",
        step,
        setting(cohort_size=cohort),
        sparsity=0.8,
        vote_threshold="floor" if floor else "ceil",
        mean_over="voters" if voters else "all",
        fine_tuning_epochs=extra,
    )


@pytest.mark.parametrize("name", VARIANTS[:3])
def test_masks_are_nested_and_nothing_lives_outside_them(name):
    """In all T rounds: after every local step, after the merge, with momentum on both sides and weight decay."""
    problem = setting(
        batch_size=3, client_momentum=0.9, weight_decay=1e-2, server_opt="momentum", server_lr=0.5
    )
    seen = []

    def watched_loss(variables, batch):
        jax.debug.callback(lambda params: seen.append(twin.from_tree(params)), variables.params)
        return problem.federation.loss(variables, batch)

    watched = problem._replace(federation=problem.federation._replace(loss=watched_loss))
    extra = {"fine_tuning_epochs": 1} if name == "fedsparsify-local" else {}
    algorithm = toy.algorithm(name, watched, sparsity=0.8, **extra)
    before = np.ones(SIZE, bool)
    for t, (server, metrics) in enumerate(twin.rounds_of(algorithm, watched, 6)):
        jax.effects_barrier()
        assert t == 0 or len(seen) >= 4 * 3
        for params in seen:  # under the mask that the round began with
            assert_plus_zero(twin.flat(params)[~before])
        seen.clear()
        mask = twin.flat(twin.from_tree(server.mask))
        assert not (mask & ~before).any()
        assert_plus_zero(twin.flat(twin.from_tree(server.variables.params))[~mask])
        for moment in jax.tree.leaves(server.opt, is_leaf=lambda node: isinstance(node, dict)):
            assert_plus_zero(twin.flat(twin.from_tree(moment))[~mask])
        if name == "fedsparsify-local" and t:  # four voters, two of whom are enough
            kept = SIZE - int(sparsity(t, 6, final=0.8) * SIZE)
            assert mask.sum() <= 2 * kept
            assert_local_messages(metrics, before.sum(), kept)
        before = mask
    assert before.sum() < SIZE / 2


@pytest.mark.parametrize("name", VARIANTS[:2])
def test_statistics_are_averaged_and_never_masked(name):
    """A stand-in for BatchNorm's: six numbers that grow by one with each local step."""
    problem = setting(batch_size=3)

    def counting_loss(variables, batch):
        return problem.federation.loss(variables._replace(stats=()), batch)[0], variables.stats + 1

    def init(key):
        return problem.model.init(key)._replace(stats=jnp.zeros(6))

    counting = problem._replace(
        federation=problem.federation._replace(loss=counting_loss, stats_size=6),
        model=problem.model._replace(init=init),
    )
    *_, (server, _) = twin.rounds_of(toy.algorithm(name, counting, sparsity=0.9), counting, 6)
    sizes, expected = np.asarray(toy.SIZES), 0
    for t in range(1, 7):
        ids, present = problem.sampler.draw(0, t)
        held = sizes[ids[present]]
        expected += (held * 3 * -(-held // 3)).sum() / held.sum()
    assert twin.flat(twin.from_tree(server.mask)).sum() < SIZE / 2
    np.testing.assert_allclose(server.variables.stats, expected, rtol=1e-12)


def assert_local_messages(metrics, living, kept):
    """Uplink: positions among what lives, none before the first purge. Downlink: positions among everything."""
    np.testing.assert_array_equal(metrics.up.values, min(kept, living))
    np.testing.assert_array_equal(metrics.up.located, kept if kept < living else 0)
    np.testing.assert_array_equal(metrics.up.universe, living)
    np.testing.assert_array_equal(metrics.down.values, living)
    np.testing.assert_array_equal(metrics.down.located, living if living < SIZE else 0)
    np.testing.assert_array_equal(metrics.down.universe, SIZE)


def assert_plus_zero(values):
    assert not values.any()
    assert not np.signbit(values).any()


@pytest.mark.usefixtures("loops_as_shipped")
def test_without_sparsity_it_is_fedavg_bit_for_bit():
    problem = setting(batch_size=3)
    dense, *others = (
        [server.variables for server, _ in twin.rounds_of(toy.algorithm(name, problem, **hyper), problem, 3)]
        for name, hyper in (("fedavg", {}), *((name, {"sparsity": 0.0}) for name in VARIANTS[:2]))
    )
    for run in others:
        jax.tree.map(np.testing.assert_array_equal, run, dense)


def test_the_vote_of_equals_is_their_mask():
    """Clients that hold the same data agree on a mask; then purging before or after the merge is the same."""
    problem = setting()
    held, population = problem.population.count[0], problem.population
    population = population._replace(
        index=np.tile(population.index[0], (7, 1)), count=np.full(7, held), weight=np.ones(7)
    )
    problem = problem._replace(population=population)
    assert_same_rounds(
        "fedsparsify-local", lambda *where: global_twin(*where, final=0.8), problem, sparsity=0.8
    )


def resized(federation, rounds):
    """The federation with the FashionMNIST network of the paper."""
    network = models.build("mlp", (28, 28, 1), 10, dtype=jnp.float64)
    params = jax.eval_shape(network.init, jax.random.key(0)).params
    return federation._replace(params=params, kinds=network.kinds, rounds=rounds)


@pytest.mark.parametrize(
    ("final", "kept"), [(0.8, 23_657), (0.85, 17_743), (0.9, 11_829), (0.95, 5_915), (0.99, 1_183)]
)
def test_survivors_of_the_fashion_mnist_network(final, kept):
    federation = resized(setting().federation, 200)
    for name in (VARIANTS[0], *VARIANTS[2:]):
        algorithm = registry.make_algorithm(name, federation, sparsity=final)
        assert algorithm.declared[0].how == "exact"
        assert algorithm.declared[0].kept(200) == kept


def test_one_shot_waits_for_its_round():
    problem = setting()
    run = twin.rounds_of(toy.algorithm("one-shot-pruning", problem, prune_round=4), problem, 6)
    living = [int(twin.flat(twin.from_tree(server.mask)).sum()) for server, _ in run]
    assert living == [SIZE] * 4 + [SIZE - int(0.9 * SIZE)] * 3


@pytest.mark.parametrize(("prune_round", "first"), [(None, 190), (200, 200)])
def test_one_shot_prunes_ten_rounds_before_the_end_unless_stated(prune_round, first):
    federation = resized(setting().federation, 200)
    algorithm = registry.make_algorithm(
        "one-shot-pruning", federation, sparsity=0.95, prune_round=prune_round
    )
    kept = algorithm.declared[0].kept
    assert kept is not None
    assert (kept(first - 1), kept(first), kept(200)) == (118_282, 5_915, 5_915)


@pytest.mark.parametrize("name", VARIANTS[:2])
def test_a_mask_from_values_freezes_biases_that_are_still_zero(name):
    """In a round to which nobody comes: biases start at zero and have not moved."""
    problem = setting()
    algorithm = toy.algorithm(name, problem, mask_from_values=True)
    variables = problem.model.init(jax.random.key(1))
    cohort = populations.gather(problem.population, jnp.arange(4, dtype=jnp.int32), jnp.zeros(4, bool))
    state = State(algorithm.init(variables, jax.random.key(2)), ())
    new, _ = jax.jit(algorithm.round)(state, cohort, jnp.int32(1), jax.random.key(3))
    alive = {name: mask.mean() for name, mask in twin.from_tree(new.server.mask).items()}
    assert alive == {"b1": 0, "w1": 1, "b2": 0, "w2": 1}


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("fedsparsify-global", {"sparsity": 1.0}, "--sparsity = 1.0 is out of range"),
        ("fedsparsify-global", {"exponent": 0}, "--exponent = 0 is out of range"),
        ("fedsparsify-local", {"start_round": 6}, "--start-round = 6 .* --rounds = 6; allowed: 0 to 5"),
        ("fedsparsify-local", {"vote_threshold": "most"}, "unknown --vote-threshold 'most'"),
        ("fedsparsify-local", {"fine_tuning_epochs": -1}, "--fine-tuning-epochs = -1 is out of range"),
        ("fedsparsify-local", {"initial_sparsity": 0.95}, "--initial-sparsity = 0.95 is out of range"),
        ("one-shot-pruning", {"prune_round": 7}, "--prune-round = 7 is out of range; allowed: \\[1, 6\\]"),
    ],
)
def test_refusals(name, hyper, message):
    with pytest.raises(errors.UsageError, match=message):
        toy.algorithm(name, setting(), **hyper)


def test_a_schedule_that_cannot_reach_its_end_says_where_it_ends():
    """13.7 % of the weights still live after 30 rounds, not 10 %: the last pruning comes after round 20."""
    problem = toy.setting(rounds=30)
    with pytest.warns(UserWarning, match=r"does not divide --rounds = 30: .* after round 20, .* 0\.86"):
        toy.algorithm("fedsparsify-global", problem, frequency=20, sparsity=0.9)
    toy.algorithm("fedsparsify-global", problem, frequency=15, sparsity=0.9)
