"""Masks that a run keeps: those that its rows speak of."""

import json

import numpy as np
import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.records import mask_files
from fedjax_sparse.results import overlaps

OPTIONS = {"clients": 6, "cohort-size": 3, "rounds": 3, "eval-every": 1, "model": "mlp:hidden=8"}


def test_kept_masks_agree_as_the_rows_say(tmp_path):
    out = tmp_path / "run"
    options = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]
    flags = ["--keep-masks", "--log-masks", "--no-figures", "--out", str(out)]
    assert main(["run", "zerofl", *options, *flags]) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept = mask_files.read(out, range(4))
    assert [one.round for one in kept] == [0, 1, 2, 3]
    iou = overlaps.iou([one.server for one in kept])
    np.testing.assert_allclose(np.diag(iou, 1), [row["mask_iou_rounds"] for row in rows[1:]], rtol=1e-6)
    assert not kept[0].pairs
    for one, row in zip(kept[1:], rows[1:], strict=True):
        pairs = one.pairs["mask_iou_pairs"]
        assert row["mask_iou_pairs"] == pytest.approx(pairs[~np.eye(3, dtype=bool)].mean(), rel=1e-6)
        np.testing.assert_array_equal(pairs, pairs.T)
