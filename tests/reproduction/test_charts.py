"""Sweeps and curves from results made by hand."""

import pytest

from fedjax_sparse.errors import UsageError
from fedjax_sparse.reproduction import charts
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.reading import ACCURACY
from tests.reproduction import made

SPARSITY = Quantity("Sparsity", "%")


def test_a_sweep_has_the_mean_and_range_at_each_place_and_dense_runs_across():
    found = made.results(
        made.result("dense", [0.8, 0.9]),
        made.result("sparse", [0.5, 0.7], at=0.9),
        made.result("sparse", [0.4], at=0.99),
        made.result("other", [0.3], at=0.99),
    )
    points = charts.picture(found, charts.sweep(found, SPARSITY)).points
    shown = [(p.series, p.x, p.seeds) for p in points]
    assert shown == [
        ("dense", 0.9, 2),
        ("dense", 0.99, 2),
        ("sparse", 0.9, 2),
        ("sparse", 0.99, 1),
        ("other", 0.99, 1),
    ]
    assert points[2][4:7] == pytest.approx((0.6, 0.5, 0.7))
    assert {p.quantity for p in points} == {ACCURACY}


def test_a_sweep_without_places_is_refused():
    with pytest.raises(UsageError, match="none of its recorded runs has a place"):
        charts.sweep(made.results(made.result("dense", [0.8])), SPARSITY)


def test_curves_of_several_panels_share_a_legend():
    found = made.results(
        made.result("a", [0.8, 0.6], panel="left"),
        made.result("b", [0.5], panel="left"),
        made.result("b", [0.4], panel="right"),
    )
    picture = charts.picture(found, charts.curves(found, "round", [ACCURACY, "never recorded"]))
    assert len(picture.points) == 3 * len(made.ROUNDS)
    figure = picture.draw()
    assert [axes.get_title() for axes in figure.axes] == ["left", "right"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_curve_of_two_runs_and_one_of_nothing_are_refused():
    two = made.results(made.result("a", [0.5], at=0.1), made.result("a", [0.5], at=0.2))
    with pytest.raises(UsageError, match="has 2 runs; a curve shows one"):
        charts.curves(two, "round")
    with pytest.raises(UsageError, match="no run has recorded regrowth"):
        charts.curves(made.results(made.result("a", [0.5])), "round", ["regrowth"])


def test_three_panels_leave_no_empty_one_and_lines_differ_in_grey():
    found = made.results(made.result("a", [0.5]), made.result("b", [0.4]))
    columns = [ACCURACY, "communicated_bytes", "regrowth"]
    found = found.with_column(
        "regrowth", lambda columns, case: columns["round"]
    )  # on a logarithmic axis, from zero
    figure = charts.picture(found, charts.curves(found, "round", columns)).draw()
    assert len(figure.axes) == 3
    looks = {(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].get_lines()}
    assert len(looks) == 2


def test_what_stands_at_the_end_is_called_so_and_long_labels_have_two_lines():
    found = made.results(made.result("sparse", [0.5], at=0.9)).with_column(
        "client_test_accuracy", lambda columns, case: columns[ACCURACY]
    )
    (chart,) = charts.sweep(found, SPARSITY, "communicated_bytes", last=1)
    assert chart.y.label == "Communicated, uplink and downlink, at the end"
    (axes,) = charts.picture(found, charts.sweep(found, SPARSITY, "client_test_accuracy")).draw().axes
    assert axes.get_ylabel() == "Clients' own test accuracy,\nlast 10 rounds (%)"
