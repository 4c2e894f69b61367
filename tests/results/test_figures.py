"""Figures and the table, from run folders made by hand."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.results import clients, drawing, figures, reading, tables
from fedjax_sparse.results.drawing import Panel
from fedjax_sparse.results.reading import ACCURACY


def make_rows(rounds, offset=0.0, accuracy=True):
    """Rows whose every number follows from the round."""
    return [
        {
            "round": t,
            "train_loss": None if t == 0 else 2.0 / t + offset,
            "global_test_loss": 2.5 / (t + 1) + offset,
            **({"global_test_accuracy": 0.1 + 0.01 * t + offset} if accuracy else {}),
            "density": 1 / (t + 1),
            "density_prunable": 1 / (t + 1),
            "uplink_bytes": 2**40 * t + 1,
            "downlink_bytes": 10 * t,
            "flops": 1000 * t,
            "flops_dense": 2000 * t,
            "wall_seconds": 0.5 * t,
            "note": "text is passed over",
        }
        for t in rounds
    ]


def write_run(folder: Path, rows, algorithm="fedavg", tail="", clients=True) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'dataset = "digits"\n[algorithm]\nname = "{algorithm}"\n')
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    if clients:
        (folder / "clients.csv").write_text("client,examples,class_0,class_1\n0,3,1,2\n1,4,4,0\n")
    return folder


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """One run of three seeds, of which the last stopped early, and one run of one seed, drawn together."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, (offset, last) in enumerate([(0.0, 20), (0.02, 20), (0.04, 10)]):
        write_run(folder / "three" / f"seed_{seed}", make_rows(range(0, last + 1, 5), offset))
    write_run(folder / "one", make_rows(range(21)), "fedsparsify-global", tail='{"round": 21, "tra')
    runs, out = [folder / "three", folder / "one"], folder / "figures"
    with pytest.warns(UserWarning, match=r"one/metrics\.jsonl: its last line is half written, and left out"):
        return runs, out, figures.plot(runs, out)


def test_files(drawn):
    _, out, files = drawn
    recorded = [name for name in figures.FIGURES if "server_" not in name and "_seconds" not in name]
    names = [*recorded, "clients", "costs"]
    expected = {f"{name}.{kind}" for name in names for kind in ("png", "pdf", "csv")} | {"summary.csv"}
    assert {file.name for file in files} == {file.name for file in out.iterdir()} == expected
    for file in files:
        head = {".png": b"\x89PNG", ".pdf": b"%PDF"}.get(file.suffix, b"")
        assert file.read_bytes().startswith(head)


def test_the_csv_holds_mean_and_range_over_the_seeds_that_have_the_round(drawn):
    _, out, _ = drawn
    rows = [r for r in read_csv(out / "accuracy_by_bytes.csv") if r["run"] == "fedavg"]
    columns = ["communicated_bytes_mean", *(f"{ACCURACY}_{of}" for of in ("mean", "min", "max", "seeds"))]
    assert [*rows[0]] == ["run", "round", *columns]
    points = [[float(r[key]) for key in columns] for r in rows]
    # Round 0 has sent one byte; the third seed stops after round 10.
    expected = [
        [2**40 * t + 10 * t + 1, 0.1 + 0.01 * t + mean, 0.1 + 0.01 * t, 0.1 + 0.01 * t + top, n]
        for t, mean, top, n in [(0, 0.02, 0.04, 3), (5, 0.02, 0.04, 3), (10, 0.02, 0.04, 3)]
        + [(t, 0.01, 0.02, 2) for t in (15, 20)]
    ]
    np.testing.assert_allclose(points, expected, rtol=1e-14)


def test_null_and_half_written_rows_are_left_out(drawn):
    _, out, _ = drawn
    rows = [r for r in read_csv(out / "loss_by_round.csv") if r["run"] == "fedsparsify-global"]
    rounds = {
        y: [float(r["round"]) for r in rows if r[f"{y}_mean"]] for y in ("train_loss", "global_test_loss")
    }
    assert (rows[0]["train_loss_mean"], rows[0]["train_loss_seeds"]) == ("", "0")
    assert rounds == {"train_loss": list(range(1, 21)), "global_test_loss": list(range(21))}


def test_a_logarithmic_axis_starts_after_zero(drawn):
    _, out, _ = drawn
    assert min(float(row["flops_mean"]) for row in read_csv(out / "accuracy_by_flops.csv")) == 1000


@pytest.mark.filterwarnings("ignore:.*its last line is half written")
def test_table(drawn, capsys):
    folders, out, _ = drawn
    three, one = read_csv(out / "summary.csv")
    assert list(three.values())[:4] == ["fedavg", "3", "10", "global_test_accuracy"]
    last = [0.3, 0.32, 0.24]
    np.testing.assert_allclose(float(three["score_last_mean"]), np.mean(last), rtol=1e-14)
    np.testing.assert_allclose(float(three["score_last_std"]), np.std(last, ddof=1), rtol=1e-14)
    assert one["uplink_bytes_mean"] == str(20 * 2**40 + 1)
    assert one["score_last_std"] == ""
    np.testing.assert_allclose(
        float(one["score_last10_mean"]), np.mean([0.1 + 0.01 * t for t in range(11, 21)])
    )
    print(tables.format_table([tables.summarize(reading.read(folder), folder.name) for folder in folders]))
    *printed, said = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in printed] == ["run", "three", "one"]
    assert said == f"{tables.SPREAD}."


@pytest.mark.filterwarnings("ignore:.*its last line is half written")
def test_the_same_folders_give_the_same_bytes(drawn, tmp_path):
    folders, out, _ = drawn
    name = "accuracy_by_round"
    runs = [reading.read(folder) for folder in folders]
    for file in figures.draw(runs, tmp_path, names=[name]):
        assert (tmp_path / file.name).read_bytes() == (out / file.name).read_bytes(), file.name


def test_without_classes_there_is_no_accuracy(tmp_path):
    run = write_run(tmp_path / "run", make_rows(range(3), accuracy=False), clients=False)
    files = figures.plot([run], tmp_path / "figures")
    drawn = {file.stem for file in files if file.suffix == ".png"}
    assert drawn == {
        "costs",
        "density_by_round",
        *(f"loss_by_{x}" for x in ("round", "bytes", "uplink", "downlink", "flops")),
    }
    assert read_csv(tmp_path / "figures" / "summary.csv")[0]["score"] == "global_test_loss"


def test_a_run_that_sends_nothing_has_no_point_by_bytes(tmp_path):
    silent = [row | {"uplink_bytes": 0, "downlink_bytes": 0} for row in make_rows(range(3))]
    a, b = write_run(tmp_path / "a", silent), write_run(tmp_path / "b", make_rows(range(3)))
    alone = figures.curves([reading.read(a)], tmp_path)
    assert "accuracy_by_bytes.csv" not in {file.name for file in alone}
    figures.curves([reading.read(a), reading.read(b)], tmp_path)
    assert {row["run"] for row in read_csv(tmp_path / "accuracy_by_bytes.csv")} == {"b"}


def test_seeds_are_in_the_order_of_their_numbers(tmp_path):
    for seed in (10, 9, 2):
        write_run(tmp_path / "run" / f"seed_{seed}", make_rows(range(2), offset=seed))
    run = reading.read(tmp_path / "run")
    assert [seed["global_test_loss"][0] for seed in run.seeds] == [4.5, 11.5, 12.5]


def test_a_seed_without_rows_yet_is_left_out(tmp_path):
    write_run(tmp_path / "run" / "seed_0", [])
    write_run(tmp_path / "run" / "seed_1", make_rows(range(2)))
    assert len(reading.read(tmp_path / "run").seeds) == 1


@pytest.mark.parametrize("count", [10, 1000])
def test_clients_of_any_number(tmp_path, count):
    classes = np.random.default_rng(0).multinomial(50, [0.1] * 10, size=count)
    table = np.column_stack([np.arange(count), classes.sum(axis=1), classes])
    header = ",".join(["client", "examples", *(f"class_{k}" for k in range(10))])
    text = "\n".join([header, *(",".join(map(str, row)) for row in table.tolist())]) + "\n"
    png, pdf, numbers = clients.draw(reading.Run(tmp_path, "fedavg", {}, [], text), tmp_path)
    assert (png.name, pdf.name, numbers.read_text()) == ("clients.png", "clients.pdf", text)


def test_clients_without_classes(tmp_path):
    rows = "".join(f"{client},{client + 1}\n" for client in range(100))
    files = clients.draw(reading.Run(tmp_path, "fedavg", {}, [], f"client,examples\n{rows}"), tmp_path)
    assert all(file.stat().st_size for file in files)


def test_two_partitions_are_two_figures(tmp_path):
    a, b = (write_run(tmp_path / name, make_rows(range(2))) for name in "ab")
    (b / "clients.csv").write_text("client,examples,class_0,class_1\n0,7,3,4\n")
    runs = [reading.read(a), reading.read(b)]
    names = {file.name for file in figures.draw(runs, tmp_path / "out", names=[])}
    assert {"clients_1.png", "clients_2.png"} <= names
    assert "clients.png" not in names


def test_what_one_run_has_not_recorded_is_drawn_of_the_others(tmp_path):
    with_it = [row | {"client_test_accuracy": 0.5, "uplink_density": 0.1} for row in make_rows(range(3))]
    a, b = write_run(tmp_path / "a", with_it), write_run(tmp_path / "b", make_rows(range(3)))
    names = ["accuracy_by_round", "density_by_round"]
    figures.curves([reading.read(a), reading.read(b)], tmp_path, ["png"], names)
    accuracy, density = (read_csv(tmp_path / f"{name}.csv") for name in names)
    assert [row["client_test_accuracy_mean"] for row in accuracy] == 3 * ["0.5"] + 3 * [""]
    assert [row["uplink_density_seeds"] for row in density] == 3 * ["1"] + 3 * ["0"]
    assert "downlink_density_mean" not in density[0]


def test_the_target_is_one_minus_the_sparsity_asked_for(tmp_path):
    run = write_run(tmp_path / "run", make_rows(range(2)))
    with (run / "config.toml").open("a") as file:
        file.write("sparsity = 0.9\n")
    read = reading.read(run)
    found = {
        y: figures.target(read, y) for y in ("density", "density_prunable", "uplink_density", "train_loss")
    }
    expected = pytest.approx(0.1)
    assert found == {
        "density": None,
        "density_prunable": expected,
        "uplink_density": expected,
        "train_loss": None,
    }
    assert figures.target(read._replace(options={}), "uplink_density") is None


def test_densities_start_at_zero_and_rounds_have_ticks_where_they_were_evaluated(tmp_path):
    run = reading.read(write_run(tmp_path / "run", make_rows([0, 3, 5])))
    panels = [
        Panel(figures.QUANTITIES["round"], figures.QUANTITIES[y], [figures.curve(run, "round", y)], [target])
        for y, target in (("density", 0.1), ("train_loss", None))
    ]
    figure = drawing.draw(panels, ["one"], "title")
    density, loss = figure.axes
    assert density.get_ylim()[0] == 0
    assert density.get_xticks().tolist() == loss.get_xticks().tolist() == [0, 3, 5]
    assert density.get_xlim() == loss.get_xlim()
    assert [np.asarray(line.get_ydata()).tolist() for line in density.lines[1:]] == [[0.1, 0.1]]
    assert len(loss.lines) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "one",
        "target, by the sparsity asked for",
    ]


@pytest.mark.parametrize(
    ("last", "ticks"),
    [(4, [0, 1, 2, 3, 4]), (15, [0, 2, 4, 6, 8, 10, 12, 14]), (200, [0, 50, 100, 150, 200])],
)
def test_ticks_are_rounds_that_were_evaluated(last, ticks):
    assert drawing.evaluated(np.arange(last + 1.0)).tolist() == ticks


def test_runs_on_different_data_are_not_drawn_on_one_axis_in_silence(tmp_path):
    a, b = (write_run(tmp_path / name, make_rows(range(2))) for name in "ab")
    (b / "config.toml").write_text('dataset = "mnist"\n[algorithm]\nname = "fedavg"\n')
    with pytest.warns(UserWarning, match="the runs differ in data: their curves do not compare"):
        figures.plot([a, b], tmp_path / "out")
    names = {row["run"] for row in read_csv(tmp_path / "out" / "accuracy_by_round.csv")}
    assert names == {"fedavg, digits", "fedavg, mnist"}


def change(rows, line, **fields):
    """The rows, one of them changed; a field that is None is taken out."""
    changed = {key: value for key, value in (rows[line] | fields).items() if value is not None}
    return [*rows[:line], changed, *rows[line + 1 :]]


ROWS = make_rows(range(1, 4))


@pytest.mark.parametrize(
    ("rows", "tail", "error", "message"),
    [
        ([], "", UsageError, "no metrics yet"),
        ([], '{"round": 1', UsageError, "no metrics yet"),
        (change(ROWS, 1, density=None), "", UsageError, "line 2 has no 'density'"),
        (change(ROWS, 2, global_test_accuracy=None), "", UsageError, "line 3 has no 'global_test_accuracy'"),
        (change(ROWS, 1, round=1), "", UsageError, "'round' that increases"),
        (change(ROWS, 1, density="half"), "", UsageError, "rows need numbers"),
        (ROWS, '{"round": \n{"round": 5}\n', RunError, "line 4 is not JSON"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*its last line is half written")
def test_unreadable_metrics(tmp_path, rows, tail, error, message):
    run = write_run(tmp_path / "run", rows, tail=tail)
    with pytest.raises(error, match=message) as caught:
        figures.plot([run], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_bad_requests(tmp_path):
    with pytest.raises(UsageError, match="name at least one run folder"):
        figures.plot([], tmp_path)
    with pytest.raises(UsageError, match=r"no run folder .*missing"):
        figures.plot([tmp_path / "missing"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"is not a run folder: it has no metrics\.jsonl"):
        figures.plot([tmp_path / "empty"], tmp_path)
    with pytest.raises(UsageError, match=r"no clients\.csv with the columns"):
        clients.draw(reading.Run(tmp_path, "fedavg", {}, [], "name\n"), tmp_path)


def test_runs_that_cannot_be_compared(tmp_path):
    a = write_run(tmp_path / "a", make_rows(range(3)))
    b = write_run(tmp_path / "b", make_rows(range(3), accuracy=False))
    with pytest.raises(UsageError, match="b has not recorded global_test_accuracy, which other runs have"):
        figures.plot([a, b], tmp_path / "out")


def test_out_that_cannot_be_written(tmp_path):
    run = write_run(tmp_path / "run", make_rows(range(3)))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write figures to .*file"):
        figures.plot([run], tmp_path / "file")


def test_neither_jax_nor_a_window(tmp_path):
    run = write_run(tmp_path / "run", make_rows(range(3)))
    code = f"""
import sys
from pathlib import Path
from fedjax_sparse.results import figures, reading
assert "matplotlib" not in sys.modules
figures.draw([reading.read(Path({str(run)!r}))], Path({str(tmp_path / "out")!r}), names=["density_by_round"])
sys.exit("jax" in sys.modules or "matplotlib.pyplot" in sys.modules)
"""
    environment = os.environ | {"MPLBACKEND": "nonsense"}  # no window: whatever it says
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, env=environment)
    assert done.returncode == 0


def test_ticks_stand_where_runs_do_if_they_are_far_enough_apart():
    assert drawing.apart(np.array([0.9, 0.95, 0.99, 0.995, 0.999])).tolist() == [0.9, 0.95, 0.99, 0.999]
    assert drawing.apart(np.array([4.0, np.nan])).tolist() == [4]


def test_zeros_have_a_place_on_a_logarithmic_axis():
    rounds, ones = np.arange(3.0), np.ones(3, int)
    y = np.array([500.0, 20.0, 0.0])
    quantities = (figures.QUANTITIES["round"], figures.QUANTITIES["regrowth"])
    line = drawing.Curve(rounds, rounds, y, y, y, ones)
    (axes,) = drawing.draw([Panel(*quantities, [line], [None])], ["a"], "").axes
    low, high = axes.get_ylim()
    assert low < 0 < 500 < high
    assert axes.get_yticks().tolist() == [0, 10, 100, 1000]


def test_a_run_without_a_line_has_no_name_below_and_the_others_keep_their_look():
    rounds, nothing = np.arange(3.0), np.full(3, np.nan)
    empty = drawing.Curve(nothing, nothing, nothing, nothing, nothing, np.zeros(3, int))
    line = drawing.Curve(rounds, rounds, rounds, rounds, rounds, np.ones(3, int))
    quantities = (figures.QUANTITIES["round"], figures.QUANTITIES[ACCURACY])
    figure = drawing.draw([Panel(*quantities, [empty, line], [None, None])], ["a", "b"], "")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["b"]
    assert legend.get_lines()[0].get_color() == drawing.COLORS[1]


def test_no_two_of_many_lines_have_colour_and_marker_in_common_and_each_test_is_marked():
    rounds, quantities = np.arange(13.0), (figures.QUANTITIES["round"], figures.QUANTITIES[ACCURACY])
    line = drawing.Curve(rounds, rounds, rounds, rounds, rounds, np.ones(13, int))
    names = [str(number) for number in range(35)]
    (axes,) = drawing.draw([Panel(*quantities, [line] * 35, [None] * 35)], names, "").axes
    assert len({(one.get_color(), one.get_marker()) for one in axes.lines}) == 35
    assert all(one.get_markevery() == 1 for one in axes.lines)  # a model is tested 13 times by default


def test_lines_of_a_text_are_as_long_as_each_other():
    assert drawing.in_lines("Density of all parameters (%)", 28) == "Density of all\nparameters (%)"
    assert drawing.in_lines("short", 28) == "short"
    assert drawing.in_lines("", 28) == ""
