"""EF-signSGD against the compressors' slow twin, its golden values, and a real encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.costs import encodings, prices
from tests.baselines import compressors_twin, local_training_twin
from tests.baselines import quadratic_federation as bench
from tests.baselines.quadratics import close, quadratic

SIZES = (1, 4, 5, 7)
STEPS, COHORTS = (1, 2, 2, 3), ([0, 1, 3], [2, 3], [0, 2, 1])
D = 8
X = np.linspace(-1, 1, D)


def run(grad, sizes, shapes, x, cohorts, **hyper):
    setting = bench.federation(grad, sizes, shapes, batch_size=3)
    return bench.start("ef-signsgd", setting, x, **hyper).after(cohorts)


@pytest.mark.parametrize("zero", ["plus", "zero"])
def test_three_rounds_agree_with_the_twin(zero):
    _, noisy = quadratic(9, 4, D)
    sign = {"plus": compressors_twin.sign_of_zero_is_plus, "zero": compressors_twin.sign_of_zero_is_zero}[
        zero
    ]
    compress = compressors_twin.per_tensor(lambda client, u: compressors_twin.scaled_sign(u, sign))
    tensors = lambda x: [x[:2], x[2:]]  # noqa: E731
    state = {"x": tensors(X), "e": [tensors(np.zeros(D)) for _ in SIZES]}
    history = run(noisy, SIZES, bench.TWO_LEAVES, X, COHORTS, sign_of_zero=zero)
    for cohort, (new, _) in zip(COHORTS, history, strict=True):
        x = np.concatenate(state["x"])
        deltas = {
            k: tensors(local_training_twin.sgd(noisy, k, x, steps=STEPS[k], lr=0.1) - x) for k in cohort
        }
        state, _ = compressors_twin.run_round(state, cohort, deltas, compress, feedback=True)
        close(bench.flat(new.server.variables.params), np.concatenate(state["x"]))
        close(bench.rows(new.client), np.stack([np.concatenate(e) for e in state["e"]]))


def test_golden_values():
    """One client whose updates are given: its loss is linear, and so is each round's gradient, minus ten updates."""
    updates = np.asarray([[0.4, -0.1, 0.05, 0], [0.1, 0.3, -0.2, 0.02]])
    residuals = [(0.2625, 0.0375, -0.0875, 0), (0.110625, 0.085625, -0.035625, -0.231875)]
    x, memory = np.zeros(4), np.zeros(4)
    for update, residual in zip(updates, residuals, strict=True):
        setting = bench.federation(lambda k, x, step, u=update: -10 * u, (1,), {"w": (4,)})
        made = bench.start("ef-signsgd", setting, x, sign_of_zero="zero")
        state = made.state._replace(client={"w": jnp.asarray(memory)[None]})
        new, _ = made.step(state, [0], 1)
        close(bench.rows(new.client)[0], residual)
        close(bench.flat(new.server.variables.params) - x + residual, update + memory)
        x, memory = bench.flat(new.server.variables.params), bench.rows(new.client)[0]


def test_a_majority_of_signs_moves_the_model():
    _, noisy = quadratic(9, 4, D)
    x = X
    for cohort, (new, metrics) in zip(
        COHORTS, run(noisy, SIZES, bench.TWO_LEAVES, X, COHORTS, majority_step=0.1), strict=True
    ):
        deltas = [local_training_twin.sgd(noisy, k, x, steps=STEPS[k], lr=0.1) - x for k in cohort]
        x = compressors_twin.majority_vote(x, deltas, 0.1)
        close(bench.flat(new.server.variables.params), x)
        assert prices.message_bytes(metrics.up, "smallest", 4) == len(cohort) * D // 8
        assert not jax.tree.leaves(new.client)


def test_nothing_owed_sends_nothing():
    """Where there is no gradient there is no step, although a zero counts as positive."""
    ((state, _),) = run(lambda k, x, step: np.zeros(D), SIZES, bench.TWO_LEAVES, X, COHORTS[:1])
    np.testing.assert_array_equal(bench.flat(state.server.variables.params), X)


@pytest.mark.parametrize(("zero", "bits"), [("plus", 1), ("zero", 2)])
def test_a_scale_for_each_tensor_and_a_bit_for_each_entry(zero, bits):
    _, noisy = quadratic(9, 4, D)
    ((_, metrics),) = run(noisy, SIZES, bench.TWO_LEAVES, X, COHORTS[:1], sign_of_zero=zero)
    assert prices.message_bytes(metrics.up, "smallest", 4) == 3 * (2 * 4 + D * bits // 8)
    assert prices.message_bytes(metrics.down, "smallest", 4) == 3 * D * 4
    if bits == 1:
        written = bytes(2 * 4) + encodings.pack_bits([np.ones(D, bool)])
        assert len(written) * 8 == compressors_twin.scaled_sign_bits([2, 6])
        assert prices.message_bytes(metrics.up, "smallest", 4) == 3 * len(written)


def test_a_zero_is_positive_unless_asked():
    """A tensor with a zero in it: an option that changes nothing would be none."""
    grad = lambda k, x, step: np.asarray([1.0, 0.0])  # noqa: E731
    steps = {
        zero: bench.flat(
            run(grad, (1,), {"w": (2,)}, np.zeros(2), [[0]], sign_of_zero=zero)[0][0].server.variables
        )
        for zero in ("plus", "zero")
    }
    close(steps["plus"], (-0.05, 0.05))
    close(steps["zero"], (-0.05, 0.0))
