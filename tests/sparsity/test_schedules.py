"""Golden values: arithmetic on the formulas of arXiv 2204.12430, 2504.05153, 2304.07488 for their models' sizes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse import errors
from fedjax_sparse.sparsity import schedules

MLP = 118_282  # 784-128-128-10
RESNET18 = 11_164_352  # kernels of ResNet-18 with a 3x3 stem, 10 classes; with 100 classes:
RESNET18_100 = 11_210_432


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        (200, [0, 0.014250, 0.543146, 0.829451, 0.934931, 0.950000, 0.95]),
        (100, [0, 0.028498, 0.536951, 0.827615, 0.934702, 0.949999, 0.95]),
        (40, [0, 0.071219, 0.517592, 0.821879, 0.933985, 0.949984, 0.95]),
    ],
)
def test_polynomial_golden_table(rounds, expected):
    t = np.array([1, 2, rounds // 4, rounds // 2, 3 * rounds // 4, rounds - 1, rounds])
    np.testing.assert_allclose(schedules.polynomial(t, rounds, final=0.95), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("exponent", "expected"), [(1, 0.472613), (3, 0.829451), (6, 0.934703), (12, 0.949754)]
)
def test_polynomial_golden_exponents(exponent, expected):
    found = schedules.polynomial(100, 200, final=0.95, exponent=exponent)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_polynomial_is_clamped_at_zero_where_the_frequency_reaches_before_the_start():
    raw = 0.95 - 0.95 * (1 - (0 - 1) / 199) ** 3
    assert raw == pytest.approx(-0.014394, abs=1e-6)
    np.testing.assert_array_equal(schedules.polynomial(np.array([0, 1]), 200, final=0.95, frequency=2), 0)


def test_polynomial_ends_short_of_the_final_value_when_the_frequency_does_not_divide_the_rounds():
    found = schedules.polynomial(200, 200, final=0.95, frequency=15)
    assert found == pytest.approx(0.949985, abs=1e-6)
    assert found < 0.95


@pytest.mark.parametrize("exponent", [1, 2, 3, 6])
def test_polynomial_stays_at_the_final_value_after_the_last_round(exponent):
    after = schedules.polynomial(np.arange(50, 80), 50, final=0.9, exponent=exponent)
    np.testing.assert_array_equal(after, 0.9)


@given(
    final=st.floats(0.01, 0.999),
    share=st.floats(0, 1),
    rounds=st.integers(2, 60),
    start=st.integers(0, 5),
    frequency=st.integers(1, 7),
    exponent=st.sampled_from([1, 2, 3, 6, 12]),
)
def test_polynomial_rises_from_the_initial_to_the_final_value_in_steps(
    final, share, rounds, start, frequency, exponent
):
    start, initial = min(start, rounds - 1), share * final
    t = np.arange(rounds + 1)
    found = schedules.polynomial(
        t, rounds, final=final, initial=initial, start=start, frequency=frequency, exponent=exponent
    )
    assert found.dtype == np.float64
    assert (found >= 0).all()
    assert (np.diff(found) >= 0).all()
    assert (np.diff(found)[t[1:] % frequency > 0] == 0).all()
    if start % frequency == 0:
        assert found[start] == pytest.approx(initial, abs=1e-12)
    assert (found[-1] == final) or rounds % frequency


def test_polynomial_from_the_final_value_is_constant():
    found = schedules.polynomial(np.arange(1, 51), 50, final=0.9, initial=0.9)
    np.testing.assert_array_equal(found, 0.9)


def test_polynomial_with_a_larger_exponent_prunes_earlier():
    t = np.arange(2, 50)
    values = [schedules.polynomial(t, 50, final=0.9, exponent=n) for n in (1, 3, 12)]
    assert (values[0] < values[1]).all()
    assert (values[1] < values[2]).all()


@pytest.mark.parametrize(
    "wrong",
    [{"final": 1.0}, {"final": -0.1}, {"initial": 0.95}, {"start": 10}, {"frequency": 0}, {"exponent": 0}],
)
def test_polynomial_refuses_what_is_out_of_range(wrong):
    with pytest.raises(errors.UsageError, match="is out of range"):
        schedules.polynomial(1, 10, **({"final": 0.9} | wrong))


@pytest.mark.parametrize(
    ("rule", "size", "sparsity", "kept"),
    [
        (schedules.floor_pruned, MLP, 0.80, 23_657),
        (schedules.floor_pruned, MLP, 0.85, 17_743),
        (schedules.floor_pruned, MLP, 0.90, 11_829),
        (schedules.floor_pruned, MLP, 0.95, 5_915),
        (schedules.floor_pruned, MLP, 0.99, 1_183),
        (schedules.floor_pruned, 100, 0.29, 71),  # 0.29 * 100 is 28.999999999999996
        (schedules.floor_pruned_in_float64, 100, 0.29, 72),
        (schedules.floor_pruned_in_float64, MLP, 0.95, 5_915),
        (schedules.round_pruned, RESNET18, 0.90, RESNET18 - 10_047_917),
        (schedules.round_pruned, RESNET18, 0.95, RESNET18 - 10_606_134),
        (schedules.round_pruned, RESNET18, 0.99, RESNET18 - 11_052_708),
        (schedules.round_pruned, RESNET18, 0.995, RESNET18 - 11_108_530),
        (schedules.round_pruned, RESNET18, 0.999, RESNET18 - 11_153_188),
        (schedules.round_pruned, RESNET18_100, 0.90, RESNET18_100 - 10_089_389),
        (schedules.round_pruned, RESNET18_100, 0.95, RESNET18_100 - 10_649_910),
        (schedules.round_pruned, RESNET18_100, 0.99, RESNET18_100 - 11_098_328),
        (schedules.round_pruned, RESNET18_100, 0.995, RESNET18_100 - 11_154_380),
        (schedules.round_pruned, RESNET18_100, 0.999, RESNET18_100 - 11_199_222),
        (schedules.floor_kept, RESNET18, 0.50, 5_582_176),
        (schedules.floor_kept, RESNET18, 0.70, 3_349_305),
        (schedules.floor_kept, RESNET18, 0.80, 2_232_870),
        (schedules.floor_kept, RESNET18, 0.90, 1_116_435),
        (schedules.floor_kept, RESNET18, 0.95, 558_217),
        (schedules.floor_kept, RESNET18_100, 0.70, 3_363_129),
        (schedules.floor_kept, RESNET18_100, 0.95, 560_521),
        (schedules.floor_kept, 1000, 0.9, 100),
        (schedules.floor_kept, 100, 0.29, 71),
        (schedules.round_kept, 653, 0.5, 326),  # halves to even: N - round(s N) would be 327
        (schedules.round_kept, 681, 0.5, 340),
    ],
)
def test_counts_by_each_systems_own_rule(rule, size, sparsity, kept):
    assert rule(size, sparsity) == kept


@given(st.integers(1, 10**8), st.integers(0, 999))
def test_floors_are_those_of_the_decimal_number(size, thousandths):
    assert schedules.floor_pruned(size, thousandths / 1000) == size - size * thousandths // 1000
    assert schedules.floor_kept(size, thousandths / 1000) == size * (1000 - thousandths) // 1000


@pytest.mark.parametrize(
    "rule", [schedules.floor_pruned, schedules.round_pruned, schedules.floor_kept, schedules.round_kept]
)
def test_no_sparsity_keeps_everything(rule):
    assert rule(RESNET18, 0.0) == RESNET18


def test_kept_table_is_indexed_by_the_round_and_ends_exact():
    sparsities = schedules.polynomial(np.arange(201), 200, final=0.95)
    table = schedules.kept_table(MLP, sparsities, schedules.floor_pruned)
    assert table.dtype == np.int32
    assert table.shape == (201,)
    assert (table[0], table[1], table[200]) == (MLP, MLP, 5_915)
    assert table[100] == MLP - int(sparsities[100] * MLP)
    assert (np.diff(table) <= 0).all()


def test_one_shot():
    np.testing.assert_array_equal(
        schedules.one_shot(np.arange(6), final=0.9, start=4), [0, 0, 0, 0, 0.9, 0.9]
    )
    with pytest.raises(errors.UsageError, match="final sparsity"):
        schedules.one_shot(1, final=1.0, start=1)


def test_cosine_drop_fraction():
    found = schedules.cosine_drop_fraction(np.array([0, 25, 50, 75, 100, 130]), initial=0.4, end=100)
    np.testing.assert_allclose(found, [0.4, 0.2 * (1 + np.sqrt(0.5)), 0.2, 0.2 * (1 - np.sqrt(0.5)), 0, 0])
    assert found[-1] == 0


def test_host_modules_do_not_import_jax():
    code = (
        "import sys; from fedjax_sparse.sparsity import allocation, schedules; "
        "sys.exit(any(name.split('.')[0] in ('jax', 'jaxlib') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
