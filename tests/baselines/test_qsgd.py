"""QSGD against the compressors' slow twin, its golden values, and a real encoder of its levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.baselines import qsgd
from fedjax_sparse.config.cards.qsgd import QSGD
from fedjax_sparse.costs import level_codes, prices
from fedjax_sparse.errors import UsageError
from fedjax_sparse.rounds.error_feedback import TO_COMPRESS
from tests.baselines import compressors_twin, local_training_twin
from tests.baselines import quadratic_federation as bench
from tests.baselines.quadratics import close, quadratic

SIZES = (1, 4, 5, 7)
STEPS, COHORTS = (1, 2, 2, 3), ([0, 1, 3], [2, 3], [0, 2, 1])
D = 8
X = np.linspace(-1, 1, D)
GOLDEN = np.asarray([3, -1, 2, 0.5, -4, 0])


def run(cohorts=COHORTS, **hyper):
    _, noisy = quadratic(10, 4, D)
    setting = bench.federation(noisy, SIZES, bench.TWO_LEAVES, batch_size=3, weighting="examples")
    return bench.start("qsgd", setting, X, **hyper).after(cohorts)


def twin_compressed(t, client, u, *, levels, bucket, scale, layerwise):
    """The twin's decoding with the library's draws."""
    norm = {"l2": compressors_twin.l2, "max": compressors_twin.largest}[scale]
    parts = [u[:2], u[2:]] if layerwise else [u]
    keys = jax.random.split(jax.random.fold_in(bench.client_key(t, client), TO_COMPRESS), len(parts))
    decoded = []
    for part, key in zip(parts, keys, strict=True):
        width = part.size if bucket == "all" else min(bucket, part.size)
        draws = np.asarray(jax.random.uniform(key, (-(-part.size // width), width))).ravel()[: part.size]
        decoded.append(compressors_twin.qsgd(part, levels, draws, norm, width))
    return np.concatenate(decoded)


@pytest.mark.parametrize(
    "hyper",
    [
        {"levels": 4, "bucket": 3, "scale": "l2", "layerwise": False},
        {"levels": 1, "bucket": "all", "scale": "max", "layerwise": False},
        {"levels": 15, "bucket": 4, "scale": "l2", "layerwise": True},
    ],
)
def test_three_rounds_agree_with_the_twin(hyper):
    _, noisy = quadratic(10, 4, D)
    x = X
    for t, (cohort, (new, _)) in enumerate(zip(COHORTS, run(**hyper), strict=True), start=1):
        deltas = {k: local_training_twin.sgd(noisy, k, x, steps=STEPS[k], lr=0.1) - x for k in cohort}
        sent = {k: twin_compressed(t, k, deltas[k], **hyper) for k in cohort}
        x = x + local_training_twin.mean(sent, cohort, SIZES)
        close(bench.flat(new.server.variables.params), x)


@pytest.mark.parametrize(("s", "scale", "variance"), [(4, "l2", 1.71875), (1, "l2", 27.5), (4, "max", 0.25)])
def test_mean_and_variance_are_golden(s, scale, variance):
    """Within four standard errors of 20,000 draws."""
    u = jnp.asarray(GOLDEN)[None]
    draws = jax.random.uniform(jax.random.key(1), (20_000, 1, 6))
    norm, levels = jax.vmap(lambda draw: qsgd.quantized(u, s, draw, scale))(draws)
    decoded = np.asarray(norm * levels / s)[:, 0]
    squares = ((decoded - GOLDEN) ** 2).sum(axis=1)
    assert abs(squares.mean() - variance) < 4 * squares.std() / np.sqrt(len(squares)) + 1e-12
    error = 4 * decoded.std(axis=0) / np.sqrt(len(decoded)) + 1e-12
    assert (np.abs(decoded.mean(axis=0) - GOLDEN) < error).all()


def test_zeros_stay_zeros():
    norm, levels = qsgd.quantized(jnp.zeros((2, 3)), 4, jnp.zeros((2, 3)))
    np.testing.assert_array_equal(norm, 0)
    np.testing.assert_array_equal(levels, 0)


def test_lengths_of_elias_codes():
    n = [1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 100, 1000]
    golden = [1, 3, 3, 6, 6, 7, 7, 11, 11, 12, 13, 17]
    np.testing.assert_array_equal(qsgd.elias_length(jnp.asarray(n, jnp.int32)), golden)
    most = jnp.asarray([2**31 - 1, 2**30, 65535], jnp.int32)
    np.testing.assert_array_equal(qsgd.elias_length(most), [compressors_twin.elias(int(i)) for i in most])


def test_golden_levels():
    """Beside the norm in 32 bits; the sparse code's end of the bucket is ours: one bit here, for there is no rest."""
    levels, lengths = jnp.asarray([[3, 0, -1, 0, 0, 2]], jnp.int32), np.asarray([6], np.int32)
    assert qsgd.elias_sparse_bits(levels, lengths, 4) == 49 - 32 + 1
    assert qsgd.elias_dense_bits(levels, lengths, 4) == 50 - 32
    assert qsgd.fixed_bits(levels, lengths, 4) == 56 - 32
    assert qsgd.fixed_bits(levels, lengths, 1) == 44 - 32


@pytest.mark.parametrize("coding", ["fixed", "elias-sparse", "elias-dense"])
def test_a_round_counts_the_bits_of_its_levels(coding):
    """Two norms a client, and the levels of eight entries in buckets of five and three."""
    ((state, metrics),) = run(COHORTS[:1], levels=4, bucket=5, coding=coding)
    (plain, _) = run(COHORTS[:1], levels=4, bucket=5)[0]
    np.testing.assert_array_equal(bench.flat(state.server.variables), bench.flat(plain.server.variables))
    _, noisy = quadratic(10, 4, D)
    for place, k in enumerate(COHORTS[0]):
        u = local_training_twin.sgd(noisy, k, X, steps=STEPS[k], lr=0.1) - X
        key = jax.random.split(jax.random.fold_in(bench.client_key(1, k), TO_COMPRESS), 1)[0]
        draws = np.asarray(jax.random.uniform(key, (2, 5))).ravel()[:D]
        levels = [compressors_twin.qsgd_levels(u[p], 4, draws[p])[1] for p in (slice(5), slice(5, 8))]
        written = level_codes.write(levels, coding, 4)
        assert -(-int(metrics.up.code_bits[place]) // 8) == len(written)
        for got, expected in zip(level_codes.read(written, [5, 3], coding, 4), levels, strict=True):
            np.testing.assert_array_equal(got, expected)
        one = jax.tree.map(lambda field, i=place: field[i : i + 1], metrics.up)
        assert prices.message_bytes(one, "values+indices", 4) == 2 * 4 + len(written)
    assert metrics.up.code_bits[0] == compressors_twin.fixed_bits(D, 4, 5) - 64 or coding != "fixed"


def test_many_levels_are_federated_averaging():
    _, noisy = quadratic(10, 4, D)
    ((state, _),) = run(COHORTS[:1], levels=65535, scale="max")
    expected = local_training_twin.fedavg_round(X, COHORTS[0], noisy, steps=STEPS, lr=0.1, counts=SIZES)
    np.testing.assert_allclose(bench.flat(state.server.variables.params), expected, atol=1e-4)


def test_more_bits_than_are_counted_are_refused():
    _, noisy = quadratic(10, 4, D)
    federation = bench.federation(noisy, SIZES, bench.TWO_LEAVES).federation
    large = federation._replace(params={"w": jax.ShapeDtypeStruct((2**28,), jnp.float32)})
    with pytest.raises(UsageError, match="268435456 entries of up to 17 bits are too many"):
        qsgd.qsgd(large, QSGD(levels=65535))
