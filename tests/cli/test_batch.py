"""Command lines are run once; what was stopped goes on; a divergence is kept, a refusal ends the batch."""

import pytest

from fedjax_sparse.cli import batch
from fedjax_sparse.cli.batch import Case
from fedjax_sparse.records.run_folder import RunFolder

QUICK = "--clients 4 --cohort-size 2 --rounds 2 --local-epochs 1 --model softmax --eval-every 1"


def test_what_is_finished_is_not_repeated_and_what_was_stopped_goes_on(tmp_path, monkeypatch):
    cases = [Case("FedAvg, 2 rounds", f"fedavg {QUICK}")]
    (first,) = batch.run_all(cases, tmp_path, None)
    folder = RunFolder(tmp_path / "fedavg-2-rounds")
    assert (first.run, first.rounds) == ("FedAvg, 2 rounds", 2)
    commands: list[list[str]] = []
    monkeypatch.setattr(batch, "fedjax_sparse", lambda command: commands.append(command) or 0)
    (again,) = batch.run_all(cases, tmp_path, None)
    assert (again.score_last, commands) == (first.score_last, [])
    folder.set_status("interrupted after round 1")
    batch.run_all(cases, tmp_path, None)
    assert commands == [["resume", str(folder.path)]]


def test_a_refused_command_line_ends_the_batch_with_its_code(tmp_path):
    with pytest.raises(SystemExit) as stop:
        batch.run_all([Case("bad", f"fedavg {QUICK} --batch-size 0")], tmp_path, None)
    assert stop.value.code == 2


def test_a_run_that_diverged_is_summed_up_by_what_came_before(tmp_path):
    case = Case("wild", f"fedavg {QUICK} --model mlp --rounds 20 --client-lr 30")
    summaries = batch.run_all([case], tmp_path, None)
    rows = RunFolder(tmp_path / "wild").rows()
    assert [summary.rounds for summary in summaries] == ([rows[-1]["round"]] if rows else [])
    assert len(rows) < 20
