"""Published numbers: read strictly, and compared with what answers the same question."""

from pathlib import Path

import numpy as np
import pytest

from fedjax_sparse.config import run_config
from fedjax_sparse.errors import UsageError
from fedjax_sparse.reproduction import charts, published
from fedjax_sparse.results.drawing import Quantity
from tests.reproduction import made

FOLDER = Path(__file__).parents[2] / "experiments/published"
TABLE = """
[accuracy]
source = "table 1"
quantity = "global_test_accuracy"
unit = "%"
tolerance = 2
setting = { dataset = "digits", rounds = 700 }
[[accuracy.lines]]
series = "sparse"
x = [0.9, 0.99, 0.999]
y = [60, 50, 10]
deviation = [0.5, 3, 1]
"""


def read(tmp_path, text=TABLE, name="accuracy"):
    (tmp_path / "paper.toml").write_text(text)
    return published.read(tmp_path / "paper.toml", name)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_table_of_the_papers_is_read_and_has_its_source(path):
    for name in run_config.read(path):
        table = published.read(path, name)
        assert table.source
        assert all(np.isfinite(line.y).all() for line in table.lines)


def test_ours_stands_beside_theirs_where_we_have_it(tmp_path):
    found = made.results(made.result("sparse", [0.61], at=0.9), made.result("sparse", [0.43], at=0.99))
    table = read(tmp_path)
    points = charts.picture(found, charts.sweep(found, Quantity("Sparsity"))).points
    first, second, third = published.beside(table, points, found)
    assert (first.agrees, first.difference) == (True, pytest.approx(0.01))
    assert (second.agrees, second.difference) == (False, pytest.approx(-0.07))
    assert (third.ours, third.agrees, third.remark) == (None, None, "not run at this scale")
    assert published.differences(table, found) == ["rounds: 20 here, 700 there"]


def test_a_line_of_another_quantity_is_answered_by_that_column(tmp_path):
    found = made.results(made.result("sparse", [0.61], at=0.9))
    points = charts.picture(found, charts.sweep(found, Quantity("Sparsity"))).points
    other = [point._replace(quantity="best_test_accuracy", mean=0.7) for point in points]
    line = '[[accuracy.lines]]\nseries = "sparse"\nquantity = "best_test_accuracy"\nx = [0.9]\ny = [71]\n'
    *_, last = published.beside(read(tmp_path, TABLE + line), [*other, *points], found)
    assert (last.quantity, last.difference, last.agrees) == ("best_test_accuracy", pytest.approx(-0.01), True)


def test_numbers_on_other_data_are_not_compared(tmp_path):
    found = made.results(made.result("sparse", [0.6], at=0.9, dataset="mnist"))
    points = charts.picture(found, charts.sweep(found, Quantity("Sparsity"))).points
    row = published.beside(read(tmp_path), points, found)[0]
    assert (row.ours, row.agrees, row.remark) == (None, None, "run on mnist here")
    assert np.isnan(row.difference)


def test_a_place_whose_number_is_not_known_neither_agrees_nor_differs(tmp_path):
    found = made.results(made.result("sparse", [0.6], at=0.9))
    points = charts.picture(found, charts.sweep(found, Quantity("Sparsity"))).points
    row = published.beside(read(tmp_path, TABLE.replace("[60, 50, 10]", "[nan, 50, 10]")), points, found)[0]
    assert (row.ours, row.agrees, row.remark) == (points[0], None, "no published value")


def test_totals_are_compared_over_as_many_rounds_alone(tmp_path):
    text = TABLE.replace("global_test_accuracy", "communicated_bytes").replace('unit = "%"', "")
    found = made.results(made.result("sparse", [0.6], at=0.9))
    points = charts.picture(found, charts.sweep(found, Quantity("Sparsity"), "communicated_bytes")).points
    row = published.beside(read(tmp_path, text), points, found)[0]
    assert (row.ours, row.agrees, row.remark) == (None, None, "a total over 20 rounds here, 700 there")
    same = published.beside(read(tmp_path, text.replace("rounds = 700", "rounds = 20")), points, found)[0]
    assert same.agrees is False


def test_options_of_an_algorithm_are_held_against_the_runs_that_have_them(tmp_path):
    table = read(tmp_path, TABLE.replace("rounds = 700", "tau = 0.5, keep_percent = 0.001"))
    found = made.results(
        made.result("sparse", [0.6], "flare", at=0.9, tau=0.1, keep_percent=0.001),
        made.result("sparse", [0.6], "fedavg", at=0.99),
    )
    assert published.differences(table, found) == ["tau: 0.1 here, 0.5 there"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('source = "table 1"', "", r"\[accuracy\]: it has no source"),
        ("[60, 50, 10]", "[60, 50]", "'sparse' has 3 x, 2 y and 3 deviations"),
        ("[60, 50, 10]", '"60"', "y = '60' is not valid"),
        ('unit = "%"', 'unit = "permille"', "unknown unit 'permille'"),
        ("rounds = 700", "round = 700", "unknown option in setting 'round'; did you mean 'rounds'"),
        ("series = ", "serie = ", "unknown key 'serie'; did you mean 'series'"),
    ],
)
def test_a_table_that_leaves_something_out_or_misspells_it_is_refused(tmp_path, old, new, words):
    with pytest.raises(UsageError, match=words):
        read(tmp_path, TABLE.replace(old, new))


def test_a_table_or_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"unknown table of .*paper.toml 'acuracy'; did you mean 'accuracy'"):
        read(tmp_path, name="acuracy")
    with pytest.raises(UsageError, match="cannot read"):
        published.read(tmp_path / "nobody.toml", "accuracy")
