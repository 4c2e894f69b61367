"""The scripts that reproduce figures: all can be asked for at every scale; some are run, resumed and shared."""

import runpy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fedjax_sparse.cli import reproducing
from fedjax_sparse.config import comparison
from fedjax_sparse.experiments import resuming, runs
from fedjax_sparse.reproduction import cases, convex, published
from fedjax_sparse.reproduction import reproducing as judging
from fedjax_sparse.reproduction.cases import SCALES, Case, Result, Results, Scale
from fedjax_sparse.results import overlaps
from fedjax_sparse.results.comparison_table import Outcome
from fedjax_sparse.results.figures import QUANTITIES
from fedjax_sparse.results.overlaps import HeatMap
from fedjax_sparse.results.reading import ACCURACY, Run

SCRIPTS = Path(__file__).parents[2] / "scripts"
MASKS = np.full((2, 2), 0.5)  # how far those of two rounds agree


ALL = {one.name: one for one in runpy.run_path(str(SCRIPTS / "reproduce.py"))["reproductions"]()}


@pytest.mark.parametrize("name", ALL)
def test_a_script_has_the_name_of_its_figure_and_can_be_asked_for_at_every_scale(name):
    assert (SCRIPTS / f"{name}.py").is_file()
    for scale in SCALES:
        cases.check([*ALL[name].cases(scale)])
    if ALL[name].published:
        published.read(*ALL[name].published)


def made_up(one: Case, columns: Sequence[str]) -> Result:
    """A run of two seeds in which every column grows with the rounds."""
    rounds = np.arange(0.0, one.config.training.rounds + 1, max(1, one.config.training.rounds // 4))
    grown = {name: (0.1 + 0.01 * len(one.series)) * (1 + rounds / rounds[-1]) for name in columns}
    seeds = {seed: {**grown, "round": rounds} for seed in range(2)}
    run = Run(Path(), one.config.algorithm, {"dataset": one.config.data.dataset}, [*seeds.values()], "")
    return Result(one, Outcome(comparison.Case(one.folder, None, one.config), run, seeds, []))


def recorded(name: str, scale: Scale, monkeypatch) -> Results:
    """Of each run of a figure what a run records, and what is read of files in place of them."""
    monkeypatch.setattr(convex, "minimum", lambda config: 0.0)
    monkeypatch.setattr(overlaps, "between_rounds", lambda run: HeatMap("server", "Round", [1, 9], MASKS, 1))
    monkeypatch.setattr(overlaps, "between_clients", lambda run: [])
    script = ALL[name].picture.__globals__
    if "deployed" in script:  # of models, which made-up runs do not have
        monkeypatch.setitem(script, "deployed", lambda folder: {seed: {} for seed in range(2)})
    if "final_weights" in script:
        weights = np.random.default_rng(0).normal(size=(2, 500))
        monkeypatch.setitem(script, "final_weights", lambda folder: weights)
    columns = [*QUANTITIES, "density/Dense_0/kernel", "objective", "server_density"]
    return Results([made_up(one, columns) for one in ALL[name].cases(scale)], [])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", sorted({*ALL} - {"sparsyfed_masks"}))  # that one draws masks, see below
def test_a_figure_is_drawn_and_judged_from_what_runs_record_at_every_scale(name, scale, monkeypatch):
    found = recorded(name, scale, monkeypatch)
    picture = ALL[name].picture(found)
    assert {point.seeds for point in picture.points} == {2}
    assert {point.series for point in picture.points} == {result.case.series for result in found.found}
    if scale == "cpu":
        assert len(picture.draw().axes) >= 1
    if ALL[name].judge:
        verdict = ALL[name].judge(found)
        assert verdict.holds in (True, False, None)
        assert "nan" not in verdict.measured
    if ALL[name].published:
        assert len(published.beside(published.read(*ALL[name].published), picture.points, found)) > 0


@pytest.mark.parametrize("name", ALL)
def test_a_figure_of_which_any_series_is_missing_is_drawn_and_not_judged(name, monkeypatch):
    found = recorded(name, "cpu", monkeypatch).found
    sweep = any(result.case.at is not None for result in found)
    for series in {result.case.series for result in found}:
        rest = [result for result in found if result.case.series != series]
        left = Results(rest, [f"{series}: nothing was recorded"])
        assert judging.judged(ALL[name], left) is None
        if not sweep or any(
            result.case.at is not None for result in rest
        ):  # else that is said in place of a figure
            assert series not in {point.series for point in ALL[name].picture(left).points}


@pytest.mark.parametrize("name", [name for name, one in ALL.items() if one.published])
def test_the_papers_scale_is_set_as_what_was_published_where_that_is_known(name):
    found = Results([made_up(one, []) for one in ALL[name].cases_at("paper")], [])
    table = published.read(*ALL[name].published)
    assert published.differences(table, found) == []
    if name != "sparsyfed_layers":  # of another sparsity than any run here
        placed = {(line.panel, line.series) for line in table.lines}
        assert placed & {(result.case.panel, result.case.series) for result in found.found}


def test_what_is_judged_by_differences_has_several_seeds_at_the_papers_scale():
    several = {name: {one.config.run.seeds for one in ALL[name].cases("paper")} for name in ALL}
    alone = {"sparsyfed_masks", "salientgrads_networks"}  # a file of masks a seed; times that no seed changes
    assert all(min(several[name]) >= 3 for name in {*ALL} - alone)


def test_sparsity_is_drawn_from_the_first_round_on_below_what_was_asked_for(monkeypatch):
    picture = ALL["sparsyfed_sparsity"].picture(recorded("sparsyfed_sparsity", "cpu", monkeypatch))
    assert min(point.x for point in picture.points) > 0
    (axes,) = picture.draw().axes
    assert [0.95, 0.95] in [[*line.get_ydata()] for line in axes.lines]


def test_a_mean_that_fills_up_is_told_from_one_that_stays_as_sparse(monkeypatch):
    one, found = ALL["sparsyfed_sparsity"], recorded("sparsyfed_sparsity", "cpu", monkeypatch)

    def judged(**densities):
        def server(columns, case):
            return np.full(len(columns["round"]), densities[case.config.algorithm.split("-")[0]])

        clients = found.with_column("density", lambda columns, case: np.full(len(columns["round"]), 0.056))
        return one.judge(clients.with_column("server_density", server)).holds

    assert judged(sparsyfed=0.056, topk=0.08, zerofl=0.26) is True
    assert judged(sparsyfed=0.056, topk=0.061, zerofl=0.26) is False
    assert judged(sparsyfed=0.08, topk=0.09, zerofl=0.26) is False


def test_flare_is_held_against_the_published_gap_at_the_last_round_that_is_in_both(monkeypatch):
    one, found = ALL["flare_accuracy"], recorded("flare_accuracy", "cpu", monkeypatch)

    def judged(**accuracies):
        def of(columns, case):
            return np.full(len(columns["round"]), accuracies[case.config.algorithm.split("-")[0]])

        return one.judge(found.with_column(ACCURACY, of)).holds

    assert judged(fedavg=0.7, flare=0.6, error=0.2) is True  # 10.9 points at round 100
    assert judged(fedavg=0.72, flare=0.6, error=0.2) is False
    assert judged(fedavg=0.7, flare=0.6, error=0.55) is False


def test_masks_are_drawn_and_judged_by_how_far_late_ones_agree(monkeypatch):
    one = ALL["sparsyfed_masks"]

    def rounds(run):
        iou = np.full((3, 3), 0.9 if run.algorithm == "sparsyfed" else 0.5)
        return HeatMap("server", "Round", [1, 10, 20], iou, 1)

    monkeypatch.setattr(overlaps, "between_rounds", rounds)
    pair = HeatMap("clients, round 10", "Client", [1, 2], np.array([[1, 0.7], [0.7, 1]]), 1)
    monkeypatch.setattr(overlaps, "between_clients", lambda run: [pair])
    found = Results([made_up(case, [*QUANTITIES]) for case in one.cases("cpu")], [])
    points = one.picture(found).points
    late = {p.series: p.mean for p in points if p.quantity == "late_mask_iou"}
    assert late == {"SparsyFed": 0.9, "Top-K": 0.5, "ZeroFL": 0.5}
    assert {(p.x, p.mean) for p in points if p.quantity == "client_mask_iou"} == {(10, 0.7)}
    assert one.judge
    assert one.judge(found).holds is True


def test_values_to_the_clients_are_counted_in_those_of_sparsyfed_and_rounds_to_nearly_the_end():
    one = ALL["sparsyfed_communication"]
    found = Results([made_up(case, [*QUANTITIES]) for case in one.cases("cpu")], [])
    of = {(p.series, p.quantity): p.mean for p in one.picture(found).points if p.x == 0}
    assert of["dense", "downlink_times"] == pytest.approx((0.1 + 0.01 * 5) / (0.1 + 0.01 * 9))
    assert (of["SparsyFed", "downlink_times"], of["SparsyFed", "rounds_to_99"]) == (1, 100)


def test_accuracy_of_fedsparsify_also_stands_over_the_parameters_that_are_left():
    one = ALL["fedsparsify_accuracy"]
    found = Results([made_up(case, [*QUANTITIES]) for case in one.cases("smoke")], [])
    over = [p.x for p in one.picture(found).points if p.series == "FedSparsify-Global"]
    assert over == [0.9, round(1210 * (0.1 + 0.01 * 18) * (1 + 3.5 / 6))]


def never(*_args, **_more):
    raise AssertionError("nothing is left to be run")


def test_a_script_draws_judges_and_runs_nothing_twice(tmp_path, monkeypatch, capsys):
    one = ALL["sparsyfed_accuracy"]
    args = ["--scale", "smoke", "--out", str(tmp_path)]
    assert reproducing.main(one, args=args) == 0
    first = capsys.readouterr().out
    assert first.splitlines()[-1].startswith(f'claim "{one.claim}" ')
    numbers = (tmp_path / f"{one.name}.csv").read_bytes()
    monkeypatch.setattr(runs, "run", never)
    monkeypatch.setattr(resuming, "resume", never)
    assert reproducing.main(one, args=args) == 0
    assert (capsys.readouterr().out, (tmp_path / f"{one.name}.csv").read_bytes()) == (first, numbers)


def test_what_was_not_run_is_said_where_nothing_is_to_be_run(tmp_path, capsys):
    assert (
        reproducing.main(ALL["flare_accuracy"], args=["--scale", "cpu", "--no-run", "--out", str(tmp_path)])
        == 1
    )
    assert "no run has recorded anything; dense: nothing was recorded" in capsys.readouterr().out


def test_a_scale_that_there_is_not_is_refused(capsys):
    assert reproducing.main(ALL["sparsyfed_accuracy"], args=["--scale", "huge"]) == 2
    assert "invalid choice: 'huge'" in capsys.readouterr().err


def test_what_cannot_be_run_is_named_and_nothing_is_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "run", lambda *_args, **_more: {}["layer"])
    one = ALL["sparsyfed_accuracy"]
    assert reproducing.main(one, args=["--scale", "smoke", "--out", str(tmp_path)]) == 1
    assert (
        "no run has recorded anything; dense, Digits, Dirichlet 1: KeyError: 'layer'"
        in capsys.readouterr().out
    )
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.slow
def test_all_figures_at_the_smoke_scale_and_their_page(tmp_path):
    assert reproducing.main(*ALL.values(), args=["--scale", "smoke", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    for name in ALL:
        assert (tmp_path / f"{name}.png").is_file()
        assert f'<img src="{name}.png"' in page
