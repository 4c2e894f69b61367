"""How far masks agree, from files of masks made by hand."""

import csv

import numpy as np
import pytest

from fedjax_sparse.errors import RunError
from fedjax_sparse.records import mask_files
from fedjax_sparse.results import overlaps, reading
from tests.results import recorded

PAIRS = {"mask_iou_pairs": np.array([[1, 0.25], [0.25, 1]])}


def mask(*alive):
    """Two leaves of 10 entries and 1."""
    whole = np.isin(np.arange(11), alive)
    return {"a/kernel": whole[:10].reshape(2, 5), "b/kernel": whole[10:]}


def folder(tmp_path, seeds=(0,)):
    """Seeds of rounds 0, 2 and 4; a mask of round 6 is left from a run that was stopped."""
    out = recorded.write(tmp_path / "run", [recorded.rows(range(0, 5, 2))] * len(seeds), seeds=seeds)
    for seed in seeds:
        part = out if len(seeds) == 1 else out / f"seed_{seed}"
        for t, alive in {0: range(11), 2: (0, 1, 10), 4: (0, 2 + seed, 10), 6: ()}.items():
            mask_files.write(part, t, mask(*alive), PAIRS if t else {})
    return out


def test_rounds_without_a_row_and_the_start_are_left_out(tmp_path):
    found = overlaps.between_rounds(reading.read(folder(tmp_path)))
    assert found is not None
    assert [*found.places] == [2, 4]
    np.testing.assert_allclose(found.iou, [[1, 0.5], [0.5, 1]])


def test_seeds_are_averaged_and_clients_are_those_of_the_first(tmp_path):
    run = reading.read(folder(tmp_path, seeds=(0, 1)))
    rounds, first, last = overlaps.of_run(run)
    assert (rounds.seeds, first.seeds, last.title) == (2, 1, "clients, round 4")
    np.testing.assert_allclose(rounds.iou, [[1, 0.5], [0.5, 1]])
    np.testing.assert_allclose(last.iou, PAIRS["mask_iou_pairs"])
    files = overlaps.draw(run, "title", tmp_path, kinds=["png"])
    assert [file.name for file in files] == ["masks.png", "masks.csv"]
    rows = [*csv.DictReader(files[1].read_text().splitlines())]
    assert rows[1] == {"masks": "server", "first": "2", "second": "4", "iou": "0.5"}


def test_late_agreement_is_of_two_different_masks():
    iou = np.array([[1, 0, 0], [0, 1, 0.5], [0, 0.5, 1]])
    rounds = overlaps.HeatMap("server", "Round", [1, 5, 10], iou, 1)
    assert overlaps.agreement(rounds, after=0.2) == 0.5
    assert np.isnan(overlaps.agreement(rounds, after=0.9))


def test_masks_that_are_empty_have_no_overlap():
    nothing, something = np.zeros(2, np.uint8), np.array([255, 1], np.uint8)
    np.testing.assert_array_equal(overlaps.iou([nothing, something]), [[np.nan, 0], [0, 1]])


def test_a_run_without_masks_has_no_such_figure(tmp_path):
    out = recorded.write(tmp_path / "run", [recorded.rows(range(3))])
    assert overlaps.draw(reading.read(out), "title", tmp_path) == []


def test_a_damaged_file_is_named(tmp_path):
    out = folder(tmp_path)
    (out / "masks" / "2.npz").write_bytes(b"PK")
    with pytest.raises(RunError, match=r"2\.npz is damaged"):
        overlaps.of_run(reading.read(out))
