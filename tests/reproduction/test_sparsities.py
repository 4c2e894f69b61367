"""Where runs stand on an axis of sparsity."""

import numpy as np
import pytest

from fedjax_sparse.reproduction import sparsities
from tests.reproduction import made

OF = {"dense": 1.0, "SNIP": 0.1, "PruneFL": 0.03, "Sub-FedAvg": 1.0}


@pytest.fixture
def found():
    """Runs that were told 90 %, and have the densities above."""
    some = made.results(
        made.result("dense", [0.5]),
        made.result("SNIP", [0.5], "snip", at=0.9),
        made.result("PruneFL", [0.5], "prunefl", at=0.9),
        made.result("Sub-FedAvg", [0.5], "sub-fedavg", at=0.9),
    )
    return some.with_column(
        "density_prunable", lambda columns, case: np.full(len(columns["round"]), OF[case.series])
    )


def test_methods_that_are_told_a_bound_stand_at_what_they_reached(found):
    at = {result.case.series: result.case.at for result in sparsities.placed(found).found}
    assert at == {"dense": None, "SNIP": 0.9, "PruneFL": pytest.approx(0.97), "Sub-FedAvg": 0.0}


def test_rivals_that_came_to_another_sparsity_are_named_with_it(found):
    ended = sparsities.elsewhere(found, [*OF, "absent"], "", 0.9)
    assert ended == {"PruneFL": pytest.approx(0.97), "Sub-FedAvg": 0.0}
    assert sparsities.left_out(ended) == (
        ", leaving out what is not as sparse: PruneFL (97.0 %), Sub-FedAvg (0.0 %)"
    )
    assert sparsities.left_out({}) == ""
