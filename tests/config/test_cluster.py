"""Which process speaks, as far as it is known before JAX starts."""

import pytest

from fedjax_sparse.config.cluster import ALONE, RANKS, Cluster


def test_who_is_alone_speaks(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")  # of a run of its own
    assert ALONE.first


@pytest.mark.parametrize("number", [0, 1])
def test_who_is_told_a_number_speaks_if_it_is_0(number):
    assert Cluster("host:1", 2, number).first == (number == 0)


@pytest.mark.parametrize("variable", RANKS)
@pytest.mark.parametrize("number", [0, 1])
def test_who_finds_the_others_asks_the_environment(monkeypatch, variable, number):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    assert Cluster("auto").first
    monkeypatch.setenv(variable, str(number))
    assert Cluster("auto").first == (number == 0)
