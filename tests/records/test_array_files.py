"""Arrays as safetensors and as the compact file: they come back, small, and never silently changed."""

import json

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.records import safetensors_file, sparse_file

ABOUT = {"name": "ä", "numbers": [1, 2.5]}


def sparse_array(density, size=40_000, dtype: npt.DTypeLike = np.float32):
    rng = np.random.default_rng(0)
    return np.where(rng.random(size) < density, rng.normal(size=size), 0).astype(dtype)


def examples():
    return {
        "kernel": sparse_array(0.05).reshape(200, 200),
        "bias": np.arange(1, 8, dtype=np.float64),
        "half": sparse_array(0.5, 100, ml_dtypes.bfloat16),
        "scalar": np.array(3, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "zeros": np.zeros((3, 5), np.float32),
        "strange": np.array([np.nan, 0, -np.inf, 1e-45], np.float32),
        "strided": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    }


@pytest.mark.parametrize("form", [safetensors_file, sparse_file])
def test_arrays_come_back_bit_for_bit(form):
    about, arrays = form.read(form.write(ABOUT, examples()), "file")
    assert about == ABOUT
    assert arrays.keys() == examples().keys()
    for name, array in examples().items():
        assert (arrays[name].shape, arrays[name].dtype) == (array.shape, array.dtype)
        assert arrays[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("density", "form"),
    [(1.0, "all"), (0.5, "bitmask"), (0.05, "gaps/4"), (0.001, "gaps/9"), (0.0, "gaps/0")],
)
def test_the_compact_file_takes_the_smallest_form(density, form):
    array = sparse_array(density)
    content = sparse_file.write({}, {"a": array})
    header = json.loads(content[16 : 16 + int.from_bytes(content[8:16], "little")])
    (_, _, _, count, written, _) = header["arrays"][0]
    assert (count, written) == (np.count_nonzero(array), form)
    values, entries = 4 * count, array.size
    assert len(content) - len(json.dumps(header)) - 48 <= min(4 * entries, values + entries // 8)


def test_a_damaged_compact_file_is_refused_wherever_it_is_damaged():
    content = sparse_file.write(ABOUT, examples())
    for place in range(8, len(content), 97):
        wrong = bytearray(content)
        wrong[place] ^= 1
        with pytest.raises(RunError, match="file is damaged"):
            sparse_file.read(bytes(wrong), "file")
    for length in (8, 20, len(content) - 1):
        with pytest.raises(RunError, match="file is damaged"):
            sparse_file.read(content[:length], "file")


def test_masks_lie_beside_the_weights_that_hold_zeros():
    from safetensors.numpy import load

    arrays = {"kernel": np.array([[0, 1, 0], [2, 3, 0]], np.float32), "bias": np.ones(3, np.float32)}
    tensors = load(safetensors_file.write(ABOUT, arrays))
    assert tensors.keys() == {"kernel", "bias", "mask/kernel"}
    assert np.array_equal(tensors["mask/kernel"], [0b01011000])


def test_a_weight_set_outside_its_mask_is_noticed():
    from safetensors.numpy import load, save

    content = safetensors_file.write(ABOUT, {"kernel": np.array([0, 1, 0, 2], np.float32)})
    metadata = {"fedjax_sparse": json.dumps(ABOUT)}
    tensors = {name: array.copy() for name, array in load(content).items()}
    tensors["kernel"][1] = 0  # inside it, a weight may become zero
    assert safetensors_file.read(save(tensors, metadata), "file")[0] == ABOUT
    tensors["kernel"][2] = 5
    with pytest.raises(
        UsageError, match="file has been changed: its kernel is not the array that its mask is"
    ):
        safetensors_file.read(save(tensors, metadata), "file")


def test_what_is_no_model_of_ours_is_refused():
    from safetensors.numpy import save

    for content in (b"", b"hello", save({"a": np.zeros(3)}), save({"a": np.zeros(3, np.int8)}, {"x": "y"})):
        with pytest.raises(
            UsageError, match="file is no model that was exported here; allowed: the safetens"
        ):
            safetensors_file.read(content, "file")
