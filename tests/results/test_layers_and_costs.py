"""Masks over time and what runs cost: the numbers behind the figures."""

import csv

import numpy as np

from fedjax_sparse.results import costs, layers, reading
from tests.results import recorded


def table(file):
    with file.open() as stream:
        return list(csv.DictReader(stream))


def test_layers_are_means_over_the_seeds_up_to_the_last_round_of_all(tmp_path):
    folder = recorded.write(
        tmp_path / "run", [recorded.rows(range(0, 9, 2)), recorded.rows(range(0, 5, 2))], seeds=(0, 1)
    )
    found = layers.read(reading.read(folder))
    assert found is not None
    assert [*found.names] == [*recorded.LAYERS]
    assert found.rounds.tolist() == [0, 2, 4]
    np.testing.assert_allclose(found.density[:, 2], [1 / 5, 1 / 3, 3 / 7])
    files = layers.draw(reading.read(folder), "title", tmp_path, kinds=["png"])
    assert [file.name for file in files] == ["layers.png", "layers.csv"]
    assert table(files[1])[0]["Dense_0/kernel"] == "1"


def test_a_run_without_layers_has_no_such_figure(tmp_path):
    folder = recorded.write(tmp_path / "run", [recorded.rows(range(3), sparse=False)])
    assert layers.draw(reading.read(folder), "title", tmp_path) == []


def test_costs_are_those_of_whole_runs(tmp_path):
    runs = [
        recorded.write(tmp_path / "dense", [recorded.rows(range(5), sparse=False)]),
        recorded.write(tmp_path / "sparse", [recorded.rows(range(5))], "fedsparsify-global"),
    ]
    files = costs.draw([reading.read(run) for run in runs], tmp_path, kinds=["png"])
    assert [file.name for file in files] == ["costs.png", "costs.csv"]
    dense, sparse = table(files[1])
    assert (dense["run"], dense["uplink_bytes"], dense["downlink_bytes"]) == ("fedavg", "4000000", "10000000")
    assert (sparse["flops"], sparse["flops_dense"]) == ("4000000000", "8000000000")
