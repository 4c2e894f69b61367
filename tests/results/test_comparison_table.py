"""The table of a comparison from folders written by hand."""

import csv
from pathlib import Path

import tomli_w

from fedjax_sparse.cli.commands import main
from fedjax_sparse.config import comparison as comparisons
from fedjax_sparse.config import run_config
from fedjax_sparse.config.comparison import Case, Comparison
from fedjax_sparse.records import run_folder
from fedjax_sparse.results import comparison_figures, figures
from fedjax_sparse.results import comparison_table as results
from fedjax_sparse.results.reading import ACCURACY, KEYS, SECONDS

COMPARISON = Comparison(
    ("fedavg", "fedsparsify-global", "scaffnew"),
    (0.5, 0.9),
    reference="fedavg",
    target=0.8,
    last=1,
    shared={"seeds": 2},
)


def record(
    case: Case, folder: Path, accuracies: list[list[float]], status: str = "finished", seconds: float = 0
) -> None:
    """Writes a run whose seeds have these accuracies, at 100 bytes up and 100 down and 1000 FLOPs a round.

    A round takes the clients so many simulated seconds; 0: nobody asks.
    """
    config = run_config.to_toml_dict(case.config)
    seeds = case.config.run.all_seeds
    folders = run_folder.create(folder, config, seeds, [], device_kind="cpu", device_count=1)
    for own, series in zip(folders, accuracies, strict=True):
        for t, accuracy in enumerate(series):
            costs = {"uplink_bytes": 100 * t, "downlink_bytes": 100 * t, "flops": 1000 * t, "round": t}
            timed = {SECONDS: seconds * t} if seconds else {}
            own.append(dict.fromkeys(KEYS, 1.0) | costs | timed | {ACCURACY: accuracy})
        own.set_status("finished")
    folders[-1].set_status(status)


def outcomes_in(folder: Path) -> list[results.Outcome]:
    dense, half, sparse, every = COMPARISON.cases()
    record(dense, folder / dense.name, [[0.1, 0.7, 0.9], [0.1, 0.8, 0.8]])
    record(half, folder / half.name, [[0.1, 0.9, 0.8], [0.1, 0.5, 0.6]])
    record(sparse, folder / sparse.name, [[0.1, 0.5, 0.6], [0.1, 0.2, 0.3]], "diverged in round 3")
    failures = {every.name: "RuntimeError: no such layer | at all"}
    return [results.read(case, folder / case.name, failures.get(case.name)) for case in COMPARISON.cases()]


def comparison_in(folder: Path) -> Path:
    outcomes_in(folder)
    (folder / comparisons.FILE).write_text(tomli_w.dumps(comparisons.to_toml_dict(COMPARISON)))
    return folder


def test_plot_takes_a_comparison(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "FIGURES", {"accuracy_by_round": figures.FIGURES["accuracy_by_round"]})
    assert main(["plot", str(comparison_in(tmp_path))]) == 0
    table, files = capsys.readouterr().out.split("interval; ")
    assert table.startswith("| algorithm | sparsity |")
    for name in ("sparsity-0.9/accuracy_by_round.pdf", "accuracy_by_sparsity.png", "costs.csv"):
        assert str(tmp_path / "figures" / name) in files


def test_cite_takes_a_comparison(tmp_path, capsys):
    assert main(["cite", str(comparison_in(tmp_path))]) == 0
    printed = capsys.readouterr().out
    for key in ("mcmahan2017fedavg", "stripelis2022fedsparsify", "mishchenko2022proxskip"):
        assert printed.count(f"{{{key},") == 1


def test_what_takes_one_run_names_those_of_a_comparison(tmp_path, capsys):
    here = comparison_in(tmp_path)
    names = ", ".join(str(here / case.name) for case in COMPARISON.cases()[:3])
    for line in (["export", str(here), "--format", "sparse"], ["plot", str(here), str(here / "fedavg")]):
        assert main(line) == 2
        assert f"name one of the runs in it: {names}" in capsys.readouterr().err


def test_the_numbers_of_the_table(tmp_path):
    dense, half, sparse, every = results.rows(outcomes_in(tmp_path), COMPARISON)
    assert [line.seeds for line in (dense, half, sparse, every)] == [2, 2, 1, 0]
    assert dense.measures["score_mean"].mean == (0.9 + 0.8) / 2
    assert half.measures["score_best"].mean == (0.9 + 0.6) / 2
    assert dense.measures["communicated_bytes"].mean == 400
    assert dense.measures["bytes_to_target"].mean == (400 + 200) / 2
    assert dense.difference is None
    assert half.difference is not None
    assert abs(half.difference.mean - ((0.8 - 0.9) + (0.6 - 0.8)) / 2) < 1e-12
    assert sparse.note == "seed 1 diverged in round 3"
    assert every.note.startswith("RuntimeError: no such layer")


def test_the_table_in_words(tmp_path):
    outcomes = outcomes_in(tmp_path)
    rows = results.rows(outcomes, COMPARISON)
    lines = results.markdown(rows, COMPARISON, results.score_of(outcomes)).splitlines()
    cells = [[cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")] for line in lines[:6]]
    assert len({len(row) for row in cells}) == 1
    header, _, dense, half, sparse, every = (dict(zip(cells[0], row, strict=True)) for row in cells)
    assert header["bytes to 80 %"] == "bytes to 80 %"
    assert dense["mean of last 1"].startswith("85.00 ± 63.5")  # t(1, 0.975) 0.05, in percent
    assert dense["− fedavg"] == ""
    assert half["bytes to 80 %"] == ""  # one of its seeds never reaches it
    assert half["− fedavg"].startswith("-15.00 ± ")
    assert sparse["last"] == "60.00"
    assert every["last"] == ""
    assert every["note"] == "RuntimeError: no such layer / at all"


def test_the_table_for_programs_has_exact_numbers(tmp_path):
    file = results.write_csv(results.rows(outcomes_in(tmp_path), COMPARISON), tmp_path / "table.csv")
    dense, half, *_ = csv.DictReader(file.read_text().splitlines())
    assert float(half["score_last"]) == (0.8 + 0.6) / 2
    assert (dense["sparsity"], half["sparsity"]) == ("", "0.5")
    assert half["bytes_to_target"] == half["bytes_to_target_margin"] == ""


def test_runs_that_depart_from_the_others_are_marked(tmp_path):
    cases = Comparison(("fedavg", "fedprox", "scaffnew")).cases()
    for case in cases:
        record(case, tmp_path / case.name, [[0.1, 0.5]])
    lines = results.rows([results.read(case, tmp_path / case.name) for case in cases], COMPARISON)
    assert [line.note for line in lines] == ["", "", "cohort_size = all; weighting = uniform"]


def test_figures_by_sparsity(tmp_path):
    comparison_figures.draw(outcomes_in(tmp_path), tmp_path / "figures", last=1)
    lines = [*csv.DictReader((tmp_path / "figures/accuracy_by_sparsity.csv").read_text().splitlines())]
    dense = [line for line in lines if line["algorithm"] == "fedavg"]
    assert [(line["sparsity"], float(line["mean"])) for line in dense] == [
        ("0.5", (0.9 + 0.8) / 2),
        ("0.9", (0.9 + 0.8) / 2),
    ]
    assert {line["algorithm"] for line in lines} == {"fedavg", "fedsparsify-global"}
    assert (tmp_path / "figures/sparsity-0.9/accuracy_by_uplink.png").is_file()


def test_simulated_time_has_columns_and_a_figure_where_all_runs_have_a_network(tmp_path):
    asked = Comparison(("fedavg", "fedprox"), target=0.8, last=1)
    (fast, slow), outcomes = asked.cases(), []
    for case, seconds in ((fast, 45.0), (slow, 1800.0)):
        record(case, tmp_path / case.name, [[0.1, 0.8, 0.9]], seconds=seconds)
        outcomes.append(results.read(case, tmp_path / case.name))
    lines = results.rows(outcomes, asked)
    assert [line.measures["simulated_seconds"].mean for line in lines] == [90, 3600]
    assert [line.measures["seconds_to_target"].mean for line in lines] == [45, 1800]
    header, _, *rows = results.markdown(lines, asked, ACCURACY).splitlines()
    place = [cell.strip() for cell in header.split("|")].index("simulated time to 80 %")
    assert [row.split("|")[place].strip() for row in rows[:2]] == ["45 s", "30 min"]
    comparison_figures.draw(outcomes, tmp_path / "figures", last=1)
    points = csv.DictReader((tmp_path / "figures/accuracy_by_seconds.csv").read_text().splitlines())
    assert [float(point["simulated_seconds_mean"]) for point in points] == [45, 90, 1800, 3600]

    record(asked.cases()[1], tmp_path / "untimed", [[0.1, 0.8]])
    mixed = [outcomes[0], results.read(slow, tmp_path / "untimed")]
    assert "seconds_to_target" not in results.rows(mixed, asked)[0].measures
