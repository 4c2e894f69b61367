"""A reproduction: its files, its last line, and the page."""

import csv

import pytest

from fedjax_sparse.config import run_config
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.reproduction import charts, page, reproducing
from fedjax_sparse.reproduction.cases import Results, case
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, points_apart
from fedjax_sparse.results.drawing import Quantity
from tests.reproduction import made
from tests.reproduction.test_published import TABLE


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduction")
    (folder / "paper.toml").write_text(TABLE)
    one = Reproduction(
        "figure",
        "Paper <1>, figure 2",
        lambda scale: [],
        lambda results: charts.picture(results, charts.sweep(results, Quantity("Sparsity", "%"))),
        "sparse is best",
        lambda results: Verdict(
            True, f"it is {points_apart(results.difference('sparse', 'dense', at=0.9))} dense"
        ),
        (folder / "paper.toml", "accuracy"),
    )
    found = made.results(made.result("dense", [0.5, 0.5]), made.result("sparse", [0.61, 0.65], at=0.9))
    return reproducing.report(one, "cpu", found._replace(missing=[]), folder)


def test_figure_and_numbers_are_written_with_the_published_ones_beside(report):
    folder = report.picture.parent
    assert report.picture.read_bytes().startswith(b"\x89PNG")
    assert (folder / "figure.pdf").read_bytes().startswith(b"%PDF")
    rows = [*csv.DictReader((folder / "figure.csv").read_text().splitlines())]
    assert [row["series"] for row in rows] == ["dense", "sparse"]
    assert rows[0]["published"] == ""
    assert [float(rows[1][key]) for key in ("mean", "published", "difference")] == pytest.approx(
        [0.63, 0.6, 0.03]
    )


def test_the_last_line_says_whether_the_claim_holds_where_and_by_how_much(report):
    assert (
        report.last_line
        == 'claim "sparse is best" holds here at scale cpu: it is 13.0 ± 25.4 points above dense'
    )
    smoke = report._replace(scale="smoke", verdict=Verdict(None, "nothing could be compared"))
    assert (
        "is not decided by 2 seeds here at scale smoke (a check of the programs, no evid" in smoke.last_line
    )
    assert report._replace(seeds=1).last_line.endswith("points above dense; one seed")
    unclaimed = report.reproduction._replace(judge=None)
    assert "no claim to judge" in report._replace(reproduction=unclaimed, verdict=None).last_line


def test_the_page_shows_what_agrees_what_does_not_and_why(report, tmp_path):
    part = report._replace(missing=["another: nothing was recorded"], verdict=None)
    text = page.write([part], ["other: no data"], tmp_path / "index.html").read_text()
    for words in (
        "Paper &lt;1&gt;, figure 2",
        'src="figure.png"',
        "0 numbers agree, within 2 points or two deviations; 1 differ; 2 are not compared",
        "Not the same: rounds: 20 here, 700 there",
        "not run at this scale",
        "claim &quot;sparse is best&quot; is not judged here at scale cpu: 1 runs are missing.",
        "another: nothing was recorded",
        "other: no data",
        "No rate was tuned: all methods have that of the settings.",
    ):
        assert words in text, words
    tuned = report.reproduction._replace(tuned={"cpu": tmp_path / "winners.toml"})
    text = page.write([part._replace(reproduction=tuned)], [], tmp_path / "index.html").read_text()
    assert "the rate that won a sweep of the same values for all (winners.toml)" in text


def test_a_claim_is_not_judged_for_want_of_runs(report, tmp_path):
    found = made.results(made.result("sparse", [0.6], at=0.9))

    def judge(results):
        return Verdict(True, f"{results.difference('sparse', 'dense', at=0.9).mean}")

    one = report.reproduction._replace(judge=judge)
    assert reproducing.report(one, "cpu", found, tmp_path).verdict is None
    assert reproducing.report(one, "cpu", found._replace(missing=[]), tmp_path).verdict == (True, "nan")


def test_where_nothing_was_recorded_there_is_no_figure(report, tmp_path):
    for missing, said in ((["a: no data"], "a: no data"), ([*"abcde"], "a; b; c; and 2 more")):
        with pytest.raises(RunError, match=f"^no run has recorded anything; {said}$"):
            reproducing.report(report.reproduction, "cpu", Results([], missing), tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_what_won_of_what_a_sweep_searched_is_used_at_its_scale_alone(tmp_path):
    (tmp_path / "won.toml").write_text(
        '[sweep]\nalgorithms = ["flare"]\n[grid]\nclient_lr = [0.1, 0.5]\ntau = [0.25, 1.0]\n'
        "[algorithm.flare]\nclient_lr = 0.5\ntau = 0.25\nkeep_percent = 3.0\n"
    )

    def figure(*algorithms):
        return Reproduction(
            "figure",
            "Paper",
            lambda scale: [case(name, name, {"rounds": 2, "local_steps": 3}) for name in algorithms],
            lambda results: charts.picture(results, []),
            tuned={"cpu": tmp_path / "won.toml"},
        )

    there, elsewhere = (figure("flare").cases_at(scale)[0].config for scale in ("cpu", "paper"))
    assert there == run_config.configure("flare", rounds=2, local_steps=3, client_lr=0.5, tau=0.25)
    assert elsewhere == run_config.configure("flare", rounds=2, local_steps=3)
    with pytest.raises(UsageError, match=r"won\.toml: no winner for ef21, which ef21 needs; there are flare"):
        figure("ef21").cases_at("cpu")
