from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse import errors
from fedjax_sparse.sparsity import allocation, schedules

shapes = st.lists(
    st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6
).map(lambda all_shapes: {f"layer{i}": shape for i, shape in enumerate(all_shapes)})
rules = st.sampled_from([schedules.floor_pruned, schedules.round_pruned, schedules.floor_kept])


def resnet18():
    """Every trainable leaf of ResNet-18 with a 3x3 stem and 10 classes, 11,173,962 scalars."""
    leaves, width = {"stem": (3, 3, 3, 64), "stem_norm/scale": (64,), "stem_norm/bias": (64,)}, 64
    for stage, out in enumerate((64, 128, 256, 512)):
        for block in range(2):
            kernels = {"conv1": (3, 3, width, out), "conv2": (3, 3, out, out)}
            if width != out:
                kernels["shortcut"] = (1, 1, width, out)
            for name, kernel in kernels.items():
                leaves[f"{stage}/{block}/{name}"] = kernel
                leaves[f"{stage}/{block}/{name}/scale"] = leaves[f"{stage}/{block}/{name}/bias"] = (out,)
            width = out
    return leaves | {"head": (512, 10), "head/bias": (10,)}


def sizes_of(layers):
    return np.array([prod(shape) for shape in layers.values()])


@pytest.mark.parametrize("allocate", [allocation.uniform, allocation.erk])
@given(layers=shapes, sparsity=st.floats(0, 0.99), rule=rules)
def test_total_is_exact_and_every_layer_within_its_size(allocate, layers, sparsity, rule):
    sizes = sizes_of(layers)
    try:
        kept = allocate(layers, sparsity, rule)
    except errors.UsageError:
        return  # a layer would be left empty
    assert kept.dtype == np.int32
    assert kept.sum() == rule(int(sizes.sum()), sparsity)
    assert (kept >= 1).all()
    assert (kept <= sizes).all()


@given(layers=shapes)
def test_no_sparsity_keeps_everything(layers):
    for allocate in (allocation.uniform, allocation.erk, allocation.erk_linear):
        if allocate is allocation.erk_linear and any(prod(shape) <= sum(shape) for shape in layers.values()):
            continue  # such a layer has no sparsity to rescale
        np.testing.assert_array_equal(allocate(layers, 0.0), sizes_of(layers))


@given(layers=shapes, sparsity=st.floats(0.1, 0.8))
def test_uniform_is_within_one_entry_of_the_same_share(layers, sparsity):
    try:
        kept = allocation.uniform(layers, sparsity)
    except errors.UsageError:
        return
    sizes = sizes_of(layers)
    assert np.abs(kept - sizes * (kept.sum() / sizes.sum())).max() < 1


def test_erk_density_follows_the_dimensions_where_nothing_is_dense():
    layers = {"a": (3, 3, 64, 64), "b": (3, 3, 128, 128), "c": (512, 256)}
    kept = allocation.erk(layers, 0.9)
    sums = np.array([sum(shape) for shape in layers.values()])
    np.testing.assert_allclose(kept / sums, kept.sum() / sums.sum(), atol=1 / sums.min())


@pytest.mark.parametrize(
    ("sparsity", "last_conv", "shortcuts"),
    [(0.5, 0.3578, [1, 1, 1]), (0.8, 0.1221, [1, 1, 1]), (0.95, 0.0275, [1, 0.742, 0.370])],
)
def test_erk_golden_resnet18(sparsity, last_conv, shortcuts):
    """Densities by the rule of RigL over all trainable leaves, as DisPFL (arXiv 2206.00187) runs it."""
    layers = resnet18()
    sizes = sizes_of(layers)
    assert sizes.sum() == 11_173_962
    density = dict(zip(layers, allocation.erk(layers, sparsity) / sizes, strict=True))
    assert density["3/1/conv2"] == pytest.approx(last_conv, abs=1e-4)
    found = [density[f"{stage}/0/shortcut"] for stage in (1, 2, 3)]
    np.testing.assert_allclose(found, shortcuts, atol=1e-3)
    assert density["stem"] == density["head"] == 1
    assert all(density[name] == 1 for name, shape in layers.items() if len(shape) == 1)


CONVS = {"conv1": (5, 5, 3, 6), "conv2": (5, 5, 6, 16), "fc1": (6400, 120)}
BIASES = {"conv1": 6, "conv2": 16, "fc1": 120, "fc2": 10}


MLP = {"a": (784, 128), "b": (128, 128), "c": (128, 10)}
CNN = {"a": (5, 5, 3, 6), "b": (5, 5, 6, 16), "c": (400, 120), "d": (120, 84), "e": (84, 10)}


@pytest.mark.parametrize(
    ("layers", "sparsity", "rule", "kept"),
    [
        (MLP, 0.9, schedules.floor_pruned, [8243, 2314, 1248]),
        (MLP, 0.9, schedules.floor_kept, [8240, 2313, 1246]),
        (CNN, 0.8, schedules.floor_pruned, [283, 476, 7726, 3031, 840]),
    ],
)
def test_counts_by_layer_of_the_codes_of_rigl_and_fedpruning(layers, sparsity, rule, kept):
    np.testing.assert_array_equal(allocation.by_layer(layers, sparsity, "erk", rule), kept)


@pytest.mark.parametrize(("kind", "kept"), [("uniform", [52, 21]), ("er", [55, 18]), ("erk", [36, 36])])
def test_kinds_of_counts_by_layer(kind, kept):
    layers = {"conv": (2, 2, 8, 8), "dense": (10, 10)}
    np.testing.assert_array_equal(allocation.by_layer(layers, 0.8, kind), kept)


def test_erk_linear_golden_two_dense_layers():
    layers = CONVS | {"fc2": (120, 10)}
    sizes = sizes_of(layers) + list(BIASES.values())
    scaled = allocation._rescaled(layers, sizes, 0.8)
    np.testing.assert_allclose(scaled, [0.772932, 0.796246, 0.800155, 0.719580], atol=5e-7)
    raw = np.array([0.957778, 0.986667, 0.991510, 0.891667])  # before they are rescaled
    np.testing.assert_allclose(scaled / raw, (0.8 * sizes.sum()) / (raw * sizes).sum(), rtol=1e-6)
    np.testing.assert_array_equal(allocation.erk_linear(layers, 0.8, BIASES), [103, 492, 153_505, 339])


def test_erk_linear_golden_three_dense_layers():
    """FedDST's network for CIFAR-10: what it prunes of each kernel, and the sparsity that this comes to."""
    layers = CONVS | {"fc2": (120, 84), "fc3": (84, 10)}
    kept = allocation.erk_linear(layers, 0.8, BIASES | {"fc2": 84, "fc3": 10})
    pruned = sizes_of(layers) - kept
    np.testing.assert_array_equal(pruned, [347, 1_908, 614_562, 7_954, 600])
    assert pruned.sum() / sizes_of(layers).sum() == pytest.approx(0.799942, abs=1e-6)


@pytest.mark.parametrize(
    ("allocate", "layers", "sparsity", "emptied"),
    [
        (allocation.uniform, {"big": (100, 100), "tiny/kernel": (3, 1)}, 0.9, "tiny/kernel"),
        (allocation.erk, {"a": (2, 2), "b": (2, 2)}, 0.9, "b|a"),
        (allocation.erk_linear, {"wide": (100, 100), "flat": (1, 100)}, 0.99, "wide"),
    ],
)
def test_an_emptied_layer_is_named(allocate, layers, sparsity, emptied):
    with pytest.raises(errors.UsageError, match=f"leaves layer '({emptied})'"):
        allocate(layers, sparsity)


def test_linear_rescaling_refuses_layers_without_a_sparsity_to_rescale():
    with pytest.raises(errors.UsageError, match="layers square are too small"):
        allocation.erk_linear({"square": (2, 2)}, 0.5)


@pytest.mark.parametrize("allocate", [allocation.uniform, allocation.erk, allocation.erk_linear])
@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_sparsity_out_of_range(allocate, sparsity):
    with pytest.raises(errors.UsageError, match=r"sparsity = .* is out of range; allowed: \[0, 1\)"):
        allocate({"a": (4, 4)}, sparsity)
