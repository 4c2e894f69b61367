"""Image files: each format is written by hand here, and read back; then damaged."""

import gzip
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fedjax_sparse.data import raw
from fedjax_sparse.data.files import Blob, Format, read_file
from fedjax_sparse.errors import UsageError

RNG = np.random.default_rng(0)


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def idx(array):
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return (0x0800 + array.ndim).to_bytes(4, "big") + lengths + array.tobytes()


def write_idx(folder, train=6, test=3, *, squeeze=True):
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, count in (("train", train), ("t10k", test)):
        images, labels = pixels(count, 28, 28), np.arange(count, dtype=np.uint8) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            pack = gzip.compress if squeeze else bytes
            (folder / f"{split}-{kind}-ubyte{'.gz' * squeeze}").write_bytes(pack(idx(array)))
            arrays[split, kind] = array
    return arrays


def is_there(formats, folder):
    return any(form.is_complete(form.find(folder)) for form in formats)


def read(formats, folder):
    form = next(form for form in formats if form.is_complete(form.find(folder)))
    return form.read(form.find(folder))


@pytest.mark.parametrize("squeeze", [True, False])
def test_idx_files_are_read_compressed_or_plain(tmp_path, squeeze):
    written = write_idx(tmp_path, squeeze=squeeze)
    arrays = read(raw.MNIST, tmp_path)
    np.testing.assert_array_equal(arrays["x_train"][..., 0], written["train", "images-idx3"])
    np.testing.assert_array_equal(arrays["y_test"], written["t10k", "labels-idx1"])
    assert arrays["x_test"].shape == (3, 28, 28, 1)


def test_emnist_is_found_under_nists_names(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for kind, array in (
            ("images-idx3", pixels(count, 28, 28)),
            ("labels-idx1", np.ones(count, np.uint8)),
        ):
            (tmp_path / f"emnist-letters-{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    arrays = read(raw.emnist("letters"), tmp_path)
    assert len(arrays["x_train"]) == 4
    assert not is_there(raw.emnist("digits"), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>not found</html>", "magic number 0x3c68746d, expected 0x00000803"),
        (b"", "not an IDX file"),
        (idx(np.zeros(5, np.uint8)), "magic number 0x00000801, expected 0x00000803"),
        (idx(np.zeros((2, 28, 28), np.uint8))[:-1], "holds 1567 bytes, its header says 2x28x28 = 1568"),
        (idx(np.zeros((2, 28, 28), np.uint8)) + b"\0", "holds 1569 bytes"),
        ((0x0803).to_bytes(4, "big") + b"\xff" * 12, "its header says 4294967295x"),
    ],
)
def test_idx_with_a_wrong_header_is_refused(content, message):
    with pytest.raises(UsageError, match=f"^file: .*{message}"):
        raw.parse_idx(Blob("file", content), 3)


def test_unequal_numbers_of_images_and_labels_are_refused(tmp_path):
    write_idx(tmp_path, train=6)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(5, np.uint8))))
    with pytest.raises(UsageError, match=r"6 images, .*train-labels-idx1-ubyte.gz holds 5 labels"):
        read(raw.MNIST, tmp_path)


def test_a_damaged_gz_is_named(tmp_path):
    path = tmp_path / "file.gz"
    whole = gzip.compress(bytes(pixels(10_000)))
    flipped = bytearray(whole)
    flipped[5_000] ^= 1
    for content in (whole[:-100], bytes(flipped), whole[:10]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"file\.gz: cannot be read: "):
            read_file(path)


def cifar_records(count, labels):
    images, y = pixels(count, 3, 32, 32), RNG.integers(0, 10, (count, labels), dtype=np.uint8)
    content = b"".join(y[i].tobytes() + images[i].tobytes() for i in range(count))
    return images.transpose(0, 2, 3, 1), y[:, -1], content


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("packed", [True, False])
def test_cifar10_binary_batches(tmp_path, packed):
    names = raw.CIFAR10[1].files
    batches = [cifar_records(3, 1) for _ in names]
    if packed:
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
            for name, (_, _, content) in zip(names, batches, strict=True):
                add(tar, name, content)
    else:
        (tmp_path / "cifar-10-batches-bin").mkdir()
        for name, (_, _, content) in zip(names, batches, strict=True):
            (tmp_path / name).write_bytes(content)
    arrays = read(raw.CIFAR10, tmp_path)
    np.testing.assert_array_equal(arrays["x_train"], np.concatenate([x for x, _, _ in batches[:5]]))
    np.testing.assert_array_equal(arrays["y_train"], np.concatenate([y for _, y, _ in batches[:5]]))
    np.testing.assert_array_equal(arrays["x_test"], batches[5][0])
    np.testing.assert_array_equal(arrays["y_test"], batches[5][1])


def test_cifar100_uses_the_fine_label(tmp_path):
    (tmp_path / "cifar-100-binary").mkdir()
    batches = {name: cifar_records(4, 2) for name in ("train", "test")}
    for name, (_, _, content) in batches.items():
        (tmp_path / "cifar-100-binary" / f"{name}.bin").write_bytes(content)
    arrays = read(raw.CIFAR100, tmp_path)
    np.testing.assert_array_equal(arrays["y_train"], batches["train"][1])
    np.testing.assert_array_equal(arrays["x_test"], batches["test"][0])


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar_python_batches(tmp_path, protocol):
    (tmp_path / "cifar-100-python").mkdir()
    images = pixels(4, 3072)
    batch = {b"data": images, b"coarse_labels": [0, 0, 1, 1], b"fine_labels": [3, 1, 99, 1]}
    for name in ("train", "test"):
        (tmp_path / "cifar-100-python" / name).write_bytes(pickle.dumps(batch, protocol))
    arrays = read(raw.CIFAR100, tmp_path)
    np.testing.assert_array_equal(arrays["x_test"], images.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(arrays["y_train"], [3, 1, 99, 1])


def test_a_batch_pickled_by_python_2_and_an_old_numpy_is_read():
    # Python 2 wrote byte strings where Python 3 writes text, and NumPy's module had its old name.
    content = pickle.dumps({b"data": np.arange(3072, dtype=np.uint8)[None], b"labels": [7]}, 2)
    old = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != content
    images, labels = raw.parse_cifar_pickle(Blob("batch", old), b"labels")
    assert labels.tolist() == [7]
    np.testing.assert_array_equal(images.ravel(), np.arange(3072, dtype=np.uint8))


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    with pytest.raises(UsageError, match=r"not a CIFAR batch: builtins\.exec is not part of an array"):
        raw.parse_cifar_pickle(Blob("batch", pickle.dumps(Harmful())), b"labels")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "batch",
    [
        {b"labels": [1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]},
        {b"data": np.zeros((1, 3072)), b"labels": [1]},
        [],
    ],
)
def test_other_pickles_are_refused(batch):
    with pytest.raises(UsageError, match=r"^batch: "):
        raw.parse_cifar_pickle(Blob("batch", pickle.dumps(batch)), b"labels")


def test_a_binary_batch_cut_short_is_refused():
    with pytest.raises(UsageError, match="9218 bytes, not a multiple of the 3073"):
        raw.parse_cifar_binary(Blob("batch", cifar_records(3, 1)[2][:-1]), 1)


def test_a_damaged_or_incomplete_tar_is_named(tmp_path):
    path = tmp_path / "cifar-100-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "cifar-100-binary/train.bin", cifar_records(3, 2)[2])
    with pytest.raises(UsageError, match=r"cifar-100-binary\.tar\.gz: .*test\.bin"):
        read(raw.CIFAR100, tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UsageError, match=r"cifar-100-binary\.tar\.gz: cannot be read"):
        read(raw.CIFAR100, tmp_path)
    path.write_bytes(b"not a tar file")
    with pytest.raises(UsageError, match=r"cifar-100-binary\.tar\.gz: not a complete tar archive"):
        read(raw.CIFAR100, tmp_path)


def webp(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "webp", lossless=True)
    return file.getvalue()


def test_a_mosaic_is_cut_row_by_row():
    mosaic = pixels(800, 1280, 3)
    tiles = raw.parse_mosaic(Blob("mosaic", webp(mosaic)))
    assert tiles.shape == (1000, 32, 32, 3)
    np.testing.assert_array_equal(tiles[0], mosaic[:32, :32])
    np.testing.assert_array_equal(tiles[41], mosaic[32:64, 32:64])  # second row, second column


def test_a_mosaic_that_is_damaged_or_of_another_size_is_refused():
    content = webp(pixels(64, 64, 3))
    with pytest.raises(UsageError, match=r"expected \(800, 1280, 3\)"):
        raw.parse_mosaic(Blob("mosaic", content))
    for damaged in (content[:500], b"RIFF", b""):
        with pytest.raises(UsageError, match="mosaic: not a readable image"):
            raw.parse_mosaic(Blob("mosaic", damaged))


def test_svhn_calls_ten_zero(tmp_path):
    images = pixels(32, 32, 3, 4)
    for name in ("train_32x32.mat", "test_32x32.mat"):
        savemat(tmp_path / name, {"X": images, "y": np.array([[1], [10], [9], [10]], np.uint8)})
    arrays = read(raw.SVHN, tmp_path)
    assert arrays["y_train"].tolist() == [1, 0, 9, 0]
    np.testing.assert_array_equal(arrays["x_test"][2], images[..., 2])
    content = (tmp_path / "train_32x32.mat").read_bytes()
    for damaged in (content[:1000], b"", b"MATLAB 7.3"):
        with pytest.raises(UsageError, match="file: not a MATLAB file"):
            raw.parse_svhn(Blob("file", damaged))


def test_a_format_lists_its_files():
    few = Format(("a", "b"), lambda blobs: {}, archive="c.tar")
    assert str(few) == "a, b or c.tar"
    assert str(raw.CIFAR10[0]) == "labels.npz, ..., test-09.webp (61 files)"


@pytest.mark.data
def test_cifar10_mosaics_decode_to_the_published_bytes(data_dir):
    arrays = read(raw.CIFAR10, data_dir / "cifar10")
    digests = {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in ("x_train", "x_test")}
    # Of the decoded uint8 arrays, stated where the mosaics were made.
    assert digests == {
        "x_train": "c7c6557433f8d7c52900e0fc5549bd21bf6f33fefee1f478f5adbc5499bb11c7",
        "x_test": "25a508aee148b4ccf689df271258bb61c79db1edd6c7bdc2d32e0f748c0bf68c",
    }
    assert np.bincount(arrays["y_train"]).tolist() == [5_000] * 10
    assert np.bincount(arrays["y_test"]).tolist() == [1_000] * 10
