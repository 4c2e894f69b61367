"""The contract holds for every registered algorithm from the day it is registered."""

from collections.abc import Iterator

import jax
import pytest

from fedjax_sparse.config import registry
from fedjax_sparse.testing import contract
from fedjax_sparse.testing.subject import CUTS, Subject, compiled, forget


@pytest.fixture(scope="module", autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", params=sorted(registry.algorithms()))
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    yield compiled(request.param)
    forget()


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_keeps(subject, check):
    check(subject)


def test_clients_are_cut_into_chunks_and_over_devices():
    assert CUTS[contract.other_cut()].chunk > 1
    assert CUTS[contract.other_cut()].devices > 1
