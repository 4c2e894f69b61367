"""Text: what a window holds, and that training and test text share nothing."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.data import text
from fedjax_sparse.data.files import Blob
from fedjax_sparse.errors import UsageError


def parse(form, content):
    return form.parse([Blob("file", content)])


@given(st.integers(82, 3_000))
def test_training_and_test_windows_share_no_character(length):
    # Every character is different, so that equal codes are the same place in the text.
    whole = "".join(map(chr, range(256, 256 + length)))
    train, test = text.split(whole)
    assert train + test == whole
    (x, y), (x_test, y_test) = (text.windows(np.array([*map(ord, part)], np.int32)) for part in (train, test))
    seen, held = ({*a.ravel().tolist(), *b.ravel().tolist()} for a, b in ((x, y), (x_test, y_test)))
    assert seen & held <= {text.UNKNOWN, text.IGNORED}
    count = -(-(length - 1) // text.WINDOW)
    assert len(x_test) == max(1, count // 10)
    assert len(x) + len(x_test) == count


@given(st.integers(2, 500))
def test_targets_are_the_next_characters(length):
    codes = np.arange(1, length + 1, dtype=np.int32)
    x, y = text.windows(codes)
    assert x.shape == y.shape == (-(-(length - 1) // 80), 80)
    real = y.ravel() != text.IGNORED
    np.testing.assert_array_equal(x.ravel()[real], codes[:-1])
    np.testing.assert_array_equal(y.ravel()[real], codes[1:])
    assert (x.ravel()[~real] == text.UNKNOWN).all()
    assert np.flatnonzero(~real).size == 0 or real.ravel()[: length - 1].all()  # padding comes last


def speech(play, speaker, words):
    return json.dumps({"play": play, "speaker": speaker, "text": words})


def test_a_role_is_a_client_and_short_roles_are_left_out():
    lines = [
        speech("hamlet", "HAMLET", "a" * 600),
        speech("hamlet", "GHOST", "b" * 999),
        speech("macbeth", "HAMLET", "c" * 1_000),  # the same name in another play is another role
        speech("hamlet", "HAMLET", "d" * 400),
    ]
    arrays = parse(text.SHAKESPEARE[0], "\n".join([*lines, ""]).encode())
    owner, x = arrays["client_train"], arrays["x_train"]
    assert sorted(set(owner.tolist())) == [0, 1]
    # Hamlet's 1,001 characters (a newline between the speeches) make 13 windows, of which the last is for testing.
    assert np.bincount(owner).tolist() == [12, 12]
    assert len(arrays["x_test"]) == 2
    # Index 0 is for unknown characters; then newline, a, c, d in order.
    assert sorted(set(x[owner == 0].ravel().tolist()) - {0}) == [1, 2, 4]
    assert set(x[owner == 1].ravel().tolist()) - {0} == {3}


def test_characters_that_only_the_test_text_has_are_unknown():
    arrays = parse(text.TINY_SHAKESPEARE[0], ("a" * 1_200 + "z" * 30).encode())
    assert set(arrays["x_train"].ravel().tolist()) == {1, text.UNKNOWN}  # the last place is padding
    assert arrays["y_test"].max() == text.UNKNOWN


@pytest.mark.parametrize("line", ["{", "[1]", '{"play": "hamlet", "speaker": "HAMLET"}', "null"])
def test_a_bad_line_is_named(line):
    with pytest.raises(UsageError, match=r"^file, line 2: not an object of play, speaker, text"):
        parse(text.SHAKESPEARE[0], f"{speech('a', 'b', 'c')}\n{line}\n".encode())


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        (text.SHAKESPEARE[0], b"", "no role has 1000 characters"),
        (text.TINY_SHAKESPEARE[0], b"a" * 999, "999 characters; at least 1000 are needed"),
        (text.TINY_SHAKESPEARE[0], b"\xff" * 2_000, "not UTF-8 text"),
    ],
)
def test_other_bad_texts_are_refused(form, content, message):
    with pytest.raises(UsageError, match=message):
        parse(form, content)


@pytest.mark.data
def test_shakespeare_by_role(data_dir):
    content = gzip.decompress((data_dir / "shakespeare" / "speeches.jsonl.gz").read_bytes())
    roles = text.read_roles(Blob("speeches", content))
    assert len(roles) == 1_397
    long_enough = ["\n".join(r) for r in roles.values() if sum(map(len, r)) >= 1_000]
    arrays = parse(text.SHAKESPEARE[0], content)
    assert arrays["client_train"].max() + 1 == len(long_enough) == 637
    # Two characters of each role have no successor in their part: the last of the training and of the test text.
    targets = sum(int((arrays[name] != text.IGNORED).sum()) for name in ("y_train", "y_test"))
    assert targets == sum(map(len, long_enough)) - 2 * 637
    # The first role's windows spell the beginning of its text.
    vocabulary = ["?", *sorted(set().union(*(text.split(whole)[0] for whole in long_enough)))]
    first = arrays["x_train"][arrays["client_train"] == 0].ravel()
    spelled = "".join(vocabulary[code] for code in first)
    assert long_enough[0].startswith(spelled[:-1])


@pytest.mark.data
def test_tiny_shakespeare(data_dir):
    arrays = parse(text.TINY_SHAKESPEARE[0], (data_dir / "shakespeare" / "input.txt").read_bytes())
    targets = sum(int((arrays[name] != text.IGNORED).sum()) for name in ("y_train", "y_test"))
    assert targets == 1_115_394 - 2
    assert arrays["x_train"].max() <= 65
