"""Cases: one folder for one run, and no figure of what does not belong together."""

import numpy as np
import pytest

from fedjax_sparse.config.run_config import changed
from fedjax_sparse.errors import UsageError
from fedjax_sparse.reproduction import cases
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.results.reading import ACCURACY
from tests.reproduction import made


def test_a_run_has_one_folder_whatever_it_is_called_and_wherever_it_runs():
    one = case("a", "sparsyfed", {"rounds": 5}, at=0.9, sparsity=0.9)
    same = case("b", "sparsyfed", {"rounds": 3}, panel="other", sparsity=0.9, rounds=5)
    assert one.folder == same.folder == one._replace(config=changed(one.config, data_dir="x", chunk=2)).folder
    others = [{"sparsity": 0.8}, {"sparsity": 0.9, "seeds": 2}, {"sparsity": 0.9, "client_lr": 0.1}]
    folders = {case("a", "sparsyfed", {"rounds": 5}, **own).folder for own in others}
    assert len(folders | {one.folder}) == 4
    assert [*cases.distinct([one, same])] == [one.folder]


def test_steps_of_a_case_replace_the_shared_epochs():
    assert case("a", "fedavg", {"local_epochs": 3}, local_steps=4).config.training.local_steps == 4


@pytest.mark.parametrize(
    ("some", "words"),
    [
        ([], "one case at least"),
        ([case("a", "fedavg", {}), case("a", "flare", {})], "same place: panel '', series 'a'"),
        (
            [case("a", "fedavg", {}), case("b", "fedavg", {"dataset": "mnist"})],
            "mixes data sets, digits and mnist",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(some, words):
    with pytest.raises(UsageError, match=words):
        cases.check(some)


def test_settings_of_a_scale_name_the_file_that_is_wrong(tmp_path):
    (tmp_path / "wrong.toml").write_text("[training]\nround = 3\n")
    with pytest.raises(UsageError, match=r"wrong.toml: .*did you mean 'rounds'"):
        Settings(tmp_path / "wrong.toml", tmp_path, tmp_path).options("smoke")


def test_differences_are_taken_seed_by_seed_and_a_dense_run_stands_everywhere():
    found = made.results(made.result("dense", [0.5, 0.7]), made.result("sparse", [0.45, 0.65], at=0.9))
    assert found.difference("sparse", "dense", at=0.9) == pytest.approx((-0.05, 0.0), abs=1e-12)
    assert np.isnan(found.difference("sparse", "dense", at=0.8).mean)
    doubled = found.with_column("twice", lambda columns, case: 2 * columns[ACCURACY])
    assert doubled.scores("sparse", at=0.9, column="twice") == pytest.approx({0: 0.9, 1: 1.3})


def test_an_accuracy_costs_what_it_costs_every_seed():
    found = made.results(made.result("sparse", [0.45, 0.65], at=0.9))
    assert found.cost_to_reach("sparse", 0.4, "communicated_bytes", at=0.9) == 5000
    assert np.isnan(found.cost_to_reach("sparse", 0.5, "communicated_bytes", at=0.9))
    assert np.isnan(found.cost_to_reach("dense", 0.4, "communicated_bytes"))


@pytest.mark.parametrize(
    ("algorithm", "told"),
    [
        ("sparsyfed", {"sparsity": 0.9}),
        ("prunefl", {"max_density": 0.1}),
        ("sub-fedavg", {"target_density": 0.1}),
    ],
)
def test_a_sparsity_is_said_by_the_option_that_an_algorithm_has(algorithm, told):
    assert told.items() <= vars(cases.pruned("one", algorithm, {"rounds": 5}, 0.9).config.hyper).items()


def test_what_recorded_nothing_is_named_with_its_reason(tmp_path):
    one = case("SparsyFed", "sparsyfed", {}, panel="MNIST", at=0.9, sparsity=0.9)
    found = cases.results([one], tmp_path, {one.folder: "no data"})
    assert (found.found, found.missing) == ([], ["SparsyFed, MNIST, at 0.9: no data"])
