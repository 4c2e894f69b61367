"""What runs are called."""

from pathlib import Path

import pytest

from fedjax_sparse.results.naming import figures_folder, labels, setting, title, titles
from fedjax_sparse.results.reading import Run

OPTIONS = {
    "dataset": "digits",
    "partition": "iid",
    "alpha": 0.3,
    "classes_per_client": 2,
    "clients": 20,
    "cohort_size": 10,
    "model": "mlp",
}


def run(folder: str, algorithm: str = "fedavg", seeds: int = 1, **options) -> Run:
    return Run(Path(folder), algorithm, OPTIONS | options, [{}] * seeds, "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ("digits", "iid", "10 of 20 clients", "mlp", "")),
        (
            {"partition": "dirichlet-by-class"},
            ("digits", "dirichlet-by-class 0.3", "10 of 20 clients", "mlp", ""),
        ),
        (
            {"partition": "shards", "cohort_size": "all", "model": "cnn"},
            ("digits", "shards 2", "all 20 clients", "cnn", ""),
        ),
        ({"cohort_size": 20}, ("digits", "iid", "all 20 clients", "mlp", "")),
        ({"network": "a/phones.toml"}, ("digits", "iid", "10 of 20 clients", "mlp", "phones network")),
    ],
)
def test_setting(options, words):
    assert setting(run("a", **options)) == words


def test_a_title_identifies_the_runs_and_says_in_what_they_differ():
    assert title([run("a"), run("b", "flare")]) == "digits, iid, 10 of 20 clients, mlp"
    assert title([run("a", seeds=3)]) == "digits, iid, 10 of 20 clients, mlp; mean and range of 3 seeds"
    mixed = [run("a"), run("b", dataset="mnist", model="cnn")]
    assert title(mixed) == "iid, 10 of 20 clients; not the same: data, model"


def test_labels_are_the_shortest_names_that_tell_runs_apart():
    assert labels([run("a"), run("b", "flare")]) == ["fedavg", "flare"]
    assert labels([run("a"), run("b")]) == ["a", "b"]
    assert labels([run("a"), run("x/a")]) == ["a", "x/a"]


def test_labels_say_what_is_special_about_a_run():
    assert labels([run("a"), run("b", dataset="mnist")]) == ["fedavg, digits", "fedavg, mnist"]
    assert labels([run("a"), run("b", network="4g")]) == ["fedavg", "fedavg, 4g network"]
    assert labels([run("a"), run("b", partition="shards")]) == ["fedavg, iid", "fedavg, shards 2"]


def test_a_figure_of_one_of_several_runs_is_titled_with_the_name_that_tells_it_apart():
    same = ["digits", "iid", "10 of 20 clients", "mlp"]
    assert titles([run("a", seeds=3)]) == ["fedavg, digits, iid, 10 of 20 clients, mlp; mean of 3 seeds"]
    assert titles([run("a"), run("b")]) == [", ".join([name, *same]) for name in "ab"]
    assert titles([run("a"), run("b", dataset="mnist")]) == [
        ", ".join(["fedavg", data, *same[1:]]) for data in ("digits", "mnist")
    ]


def test_two_equal_runs_have_two_names():
    assert labels([run("a"), run("a"), run("b", "flare")]) == ["a (1)", "a (2)", "b"]


def test_figures_of_several_runs_go_into_no_run():
    assert figures_folder([Path("runs/a")]) == Path("runs/a/figures")
    assert figures_folder([Path("runs/a"), Path("other/b")]) == Path("figures-a-b")
    many = figures_folder([Path(f"runs/{'long' * 10}-{i}") for i in range(9)])
    assert many == Path(f"figures-{'long' * 10}-0-and-8-more")
