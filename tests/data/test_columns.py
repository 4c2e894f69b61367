"""CSV, Parquet and saved Hugging Face sets, written here: named labels and owners, and what is wrong in one line."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedjax_sparse.config.run_config import configure
from fedjax_sparse.data.columns import Roles
from fedjax_sparse.data.datasets import load
from fedjax_sparse.errors import UsageError

pa = pytest.importorskip("pyarrow", reason="needs the extra fedjax-sparse[tables]")
from pyarrow import csv, parquet  # noqa: E402

TABLE = {
    "age": [1, 2, 3, 4, 5],
    "member": [True, False, True, False, True],
    "city": ["b", "a", "b", "c", "a"],
    "grade": ["low", "high", "low", "low", "high"],
    "weight": [0.5, 1.5, 2.5, 3.5, 4.5],
}
ROLES = Roles("grade", "city")
FEATURES = [[1, 1, 0.5], [2, 0, 1.5], [3, 1, 2.5], [4, 0, 3.5], [5, 1, 4.5]]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*taken as classes"),
    pytest.mark.filterwarnings("ignore:.*has no test set"),
]


@pytest.fixture(params=["csv", "csv.gz", "parquet"])
def write(request, tmp_path):
    def write(stem: str, **columns: list) -> str:
        file = tmp_path / f"{stem}.{request.param}"
        table = pa.table(columns)
        if request.param == "parquet":
            parquet.write_table(table, file)
        else:
            with pa.output_stream(str(file)) as out:  # which compresses by the name
                csv.write_csv(table, out)
        return str(file)

    return write


def test_named_labels_and_owners_and_all_other_columns_are_features(write):
    data = load(write("own", **TABLE), roles=ROLES)
    np.testing.assert_array_equal(data.x_train, FEATURES[:4])
    np.testing.assert_array_equal(data.x_test, FEATURES[4:])
    assert data.y_train.tolist() == [1, 0, 1, 1]
    assert data.client_train is not None
    assert data.client_train.tolist() == [1, 0, 1, 2]


def test_an_index_that_pandas_saved_is_no_feature(tmp_path):
    columns = {"a": [0.5, 1.5, 2.5, 3.5, 4.5], "label": [0, 1, 0, 1, 0], "__index_level_0__": [9, 8, 7, 6, 5]}
    parquet.write_table(pa.table(columns), tmp_path / "own.parquet")
    assert load(str(tmp_path / "own.parquet")).x_train.tolist() == [[0.5], [1.5], [2.5], [3.5]]


def test_the_test_set_is_the_file_beside_it(write):
    name = write("own_train", **TABLE)
    write("own_test", **{key: values[:2] for key, values in TABLE.items() if key != "city"})
    data = load(name, roles=ROLES)
    assert (len(data.x_train), data.y_test.tolist()) == (5, [1, 0])


def test_numbers_with_fractions_are_predicted(write):
    columns = {key: TABLE[key] for key in ("age", "weight")}
    data = load(write("own", **columns), roles=Roles("weight"))
    assert (data.task, data.y_train.tolist()) == ("regression", [0.5, 1.5, 2.5, 3.5])


def test_the_flags_name_the_columns():
    data = configure("fedavg", dataset="own.csv", label_column="grade", owner_column="city").data
    assert (data.label_column, data.owner_column) == ("grade", "city")
    with pytest.raises(UsageError, match="--label-column = 'grade' does not fit digits; allowed: with CSV"):
        load("digits", roles=ROLES)


@pytest.mark.parametrize(
    ("changes", "roles", "message"),
    [
        ({}, Roles(), r"no column is called label; state --label-column \(columns: age, member, city"),
        ({"y": TABLE["age"], "label": TABLE["age"]}, Roles(), "columns y, label could all be labels"),
        ({}, Roles("grad"), "unknown --label-column of .* 'grad'; did you mean 'grade'"),
        ({}, Roles("grade", "town"), "unknown --owner-column of .* 'town'"),
        ({}, Roles("grade"), "column 'city' holds string; allowed as features: numbers"),
        (
            {"weight": [0.5, None, 2.5, None, 4.5]},
            ROLES,
            "column 'weight' lacks 2 values; allowed: none missing",
        ),
        (
            {"weight": [0.5, float("nan"), 2.5, 1.0, 4.5]},
            ROLES,
            "x of the training examples has 1 values that are NaN or infinite",
        ),
        (dict.fromkeys(("age", "member", "weight")), ROLES, "has no column of features"),
        ({"grade": ["low", "low", "low", "low", "best"]}, ROLES, "the label best, which is not among those"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, changes, roles, message):
    columns = {key: values for key, values in (TABLE | changes).items() if values is not None}
    parquet.write_table(pa.table(columns), tmp_path / "own.parquet")
    with pytest.raises(UsageError, match=message):
        load(str(tmp_path / "own.parquet"), roles=roles)


def test_damaged_files_and_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "own.parquet").write_text("no Parquet")
    with pytest.raises(UsageError, match=r"own\.parquet: cannot be read"):
        load(str(tmp_path / "own.parquet"))
    (tmp_path / "own.csv").write_text("a,a,label\n1,2,0\n")
    with pytest.raises(UsageError, match="has several columns a"):
        load(str(tmp_path / "own.csv"))
    with pytest.raises(UsageError, match="no such file"):
        load(str(tmp_path / "none.csv"))


def test_arrow_that_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "own.csv").write_text("a,label\n1,0\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'fedjax-sparse\[tables\]'"):
        load(str(tmp_path / "own.csv"))


def saved(folder: Path, splits: dict[str, Any]) -> str:
    """What `DatasetDict.save_to_disk` writes, as far as it is read: splits in arrow files of one or more batches."""
    (folder / "set").mkdir()
    (folder / "set/dataset_dict.json").write_text(json.dumps({"splits": [*splits]}))
    for split, table in splits.items():
        part = folder / "set" / split
        part.mkdir()
        file = pa.OSFile(str(part / "data-00000-of-00001.arrow"), "wb")
        with file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split}
        (part / "state.json").write_text(json.dumps(state))
    return str(folder / "set")


def png(array: np.ndarray) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "png")
    return {"bytes": stream.getvalue(), "path": None}


def test_a_saved_hugging_face_set_of_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 5), np.uint8)
    table = pa.table(
        {
            "image": [*map(png, images)],
            "label": [0, 1, 2, 1, 0, 2],
            "writer_id": ["w2", "w1"] * 3,
            "hsf": [1] * 6,
        }
    )
    name = saved(tmp_path, {"train": table.slice(0, 4), "validation": table.slice(4)})
    with pytest.warns(UserWarning, match="columns hsf not used, since image holds the examples"):
        data = load(name, roles=Roles(owner="writer_id"))
    np.testing.assert_array_equal(data.x_train[..., 0], images[:4])
    np.testing.assert_array_equal(data.x_test[..., 0], images[4:])
    assert data.y_train.tolist() == [0, 1, 2, 1]
    assert data.client_train is not None
    assert data.client_train.tolist() == [1, 0, 1, 0]


def test_a_saved_hugging_face_set_of_lists(tmp_path):
    lists = pa.array(np.arange(24.0).reshape(4, 6).tolist(), pa.list_(pa.float32()))
    nested = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(24) / 2), 3)
    table = pa.table({"x": lists, "label": [0, 1, 0, 1]})
    data = load(saved(tmp_path, {"train": table, "test": table.slice(1, 2)}))
    np.testing.assert_array_equal(data.x_train, np.arange(24).reshape(4, 6))
    np.testing.assert_array_equal(data.x_test, np.arange(6, 18).reshape(2, 6))
    parquet.write_table(
        pa.table({"x": pa.ListArray.from_arrays([0, 2, 4, 6, 8], nested), "label": [0, 1, 0, 1]}),
        tmp_path / "nested_train.parquet",
    )
    parquet.write_table(
        pa.table({"x": pa.array([[[0.0] * 3] * 2]), "label": [0]}), tmp_path / "nested_test.parquet"
    )
    assert load(str(tmp_path / "nested_train.parquet")).x_train.shape == (4, 2, 3, 1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0], [1.0, 2.0]], "column 'x' holds lists of several lengths"),
        ([[1.0], [None]], "lists in column 'x' lack 1 values"),
        ([{"bytes": None, "path": "a.png"}] * 2, "column 'x' does not hold its images, but where they lie"),
        ([{"bytes": b"no image", "path": "a.png"}] * 2, "column 'x', row 0: not a readable image"),
        ([png(np.zeros((2, n), np.uint8)) for n in (2, 3)], "column 'x' holds images of 2 sizes"),
    ],
)
def test_what_is_wrong_with_a_saved_set_is_said(tmp_path, column, message):
    table = pa.table({"x": column, "label": [0, 1]})
    with pytest.raises(UsageError, match=message):
        load(saved(tmp_path, {"train": table, "test": table}))


def test_a_saved_set_without_a_test_split_is_refused(tmp_path):
    table = pa.table({"x": [1.0, 2.0], "label": [0, 1]})
    with pytest.raises(
        UsageError, match=r"has the splits \['train', 'unsupervised'\]; needed: train, and test"
    ):
        load(saved(tmp_path, {"train": table, "unsupervised": table}))
