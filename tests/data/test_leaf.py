"""LEAF's JSON, written here: natural owners, images and text as LEAF has them, and what is wrong in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedjax_sparse.data import partition
from fedjax_sparse.data.datasets import load
from fedjax_sparse.errors import UsageError

RNG = np.random.default_rng(0)
GREY = (RNG.integers(0, 256, (5, 64)) / 255).tolist()


def written(file: Path, **users: tuple[list[Any], list[Any]]) -> Path:
    content = {
        "users": [*users],
        "num_samples": [len(x) for x, _ in users.values()],
        "user_data": {user: {"x": x, "y": y} for user, (x, y) in users.items()},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


@pytest.mark.filterwarnings("ignore:.*grey levels divided by 255")
def test_femnist_has_images_and_its_writers_are_the_clients(tmp_path):
    written(tmp_path / "train/a.json", f07=(GREY[:2], [3, 0]), f01=(GREY[2:3], [1]))
    written(tmp_path / "train/b.json", f02=(GREY[3:], [2, 2]))
    written(tmp_path / "test/a.json", f01=(GREY[:1], [3]))
    data = load(str(tmp_path))
    assert (data.task, data.classes, data.x_train.shape, data.x_train.dtype) == (
        "classification",
        4,
        (5, 8, 8, 1),
        np.uint8,
    )
    np.testing.assert_array_equal(data.x_train.reshape(5, 64), np.rint(255 * np.array(GREY)))
    assert data.y_train.tolist() == [3, 0, 1, 2, 2]
    assert data.client_train is not None
    assert data.client_train.tolist() == [2, 2, 0, 1, 1]  # in the order of their names
    parts = partition.make(
        "natural", data.y_train, 3, seed=0, alpha=1, classes_per_client=1, client_train=data.client_train
    )
    assert [part.tolist() for part in parts] == [[2], [3, 4], [0, 1]]


def test_that_levels_were_divided_is_said_and_other_fractions_are_features(tmp_path):
    levels = written(tmp_path / "train/a.json", a=(GREY, [0, 1, 0, 1, 1]))
    written(tmp_path / "test/a.json", a=(GREY[:1], [0]))
    with pytest.warns(UserWarning, match="grey levels divided by 255, taken as uint8 images"):
        load(str(tmp_path))
    written(levels, a=((np.array(GREY) / 2).tolist(), [0, 1, 0, 1, 1]))
    data = load(str(tmp_path))
    assert (data.x_train.shape, data.x_train.dtype) == ((5, 64), np.float32)


def test_shakespeare_predicts_the_one_character_that_follows(tmp_path):
    written(tmp_path / "train/a.json", hamlet=(["to be", "o be "], [" ", "o"]), ghost=(["adieu"], ["!"]))
    written(tmp_path / "test/a.json", hamlet=(["or no"], ["z"]))
    data = load(str(tmp_path))
    vocabulary = ["?", *" !abdeiotu"]  # the first stands for all others
    words = [["".join(vocabulary[code] for code in row) for row in x] for x in (data.x_train, data.x_test)]
    assert words == [["to be", "o be ", "adieu"], ["o? ?o"]]
    assert data.task == "text"
    assert (data.y_train[:, :-1] == -1).all()
    assert [vocabulary[code] for code in data.y_train[:, -1]] == [" ", "o", "!"]
    assert data.y_test[0, -1] == 0
    assert data.client_train is not None
    assert data.client_train.tolist() == [1, 1, 0]


def test_who_holds_nothing_is_left_out_and_named(tmp_path):
    points = [[0.5, 1.5]] * 5
    file = written(
        tmp_path / "own.json", a=(points, [0, 1, 0, 1, 0]), b=([], []), c=(points, [1, 1, 0, 0, 1])
    )
    with (
        pytest.warns(UserWarning, match="1 of 3 users hold nothing: b; left out"),
        pytest.warns(UserWarning, match="has no test set: every 5th example is for testing"),
    ):
        data = load(str(file))
    assert data.client_train is not None
    assert data.client_train.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('["users"]', "not LEAF's JSON; allowed: an object of users, num_samples and user_data"),
        ('{"users": ["a"], "num_samples": [], "user_data": {}}', "1 users, and num_samples has 0 numbers"),
        ('{"users": ["a"], "num_samples": [1], "user_data": {}}', "no lists x and y of user 'a'"),
        (
            '{"users": ["a"], "num_samples": [2], "user_data": {"a": {"x": [[1.0]], "y": [0]}}}',
            "user 'a' has 1 examples, num_samples says 2",
        ),
        (
            '{"users": ["a"], "num_samples": [1], "user_data": {"a": {"x": [[1.0]], "y": []}}}',
            "a has 1 examples and 0 labels",
        ),
        (
            '{"users": ["a"], "num_samples": [2], "user_data": {"a": {"x": [[1.0], [1.0, 2.0]], "y": [0, 1]}}}',
            "x of user 'a' is ragged",
        ),
        (
            '{"users": ["a"], "num_samples": [1], "user_data": {"a": {"x": [{"tweet": 1}], "y": [0]}}}',
            "x of user 'a' holds neither numbers nor strings of one length",
        ),
        (
            '{"users": ["a"], "num_samples": [2], "user_data": {"a": {"x": ["one.jpg", "two2.jpg"], "y": [0, 1]}}}',
            "x of user 'a' holds text of several lengths",
        ),
        ('{"users": ["a"], "num_samples": [0], "user_data": {"a": {"x": [], "y": []}}}', "holds no example"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, content, message):
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        load(str(tmp_path / "own.json"))


def test_examples_of_two_users_must_be_alike(tmp_path):
    file = written(tmp_path / "own.json", a=([[1.0]], [0]), b=([[1.0, 2.0]], [1]))
    with pytest.raises(UsageError, match=r"examples of b are float64 \[2\], of a float64 \[1\]"):
        load(str(file))
