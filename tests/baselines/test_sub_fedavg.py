"""Sub-FedAvg against its twin, its gates and its counts."""

import numpy as np
import pytest

from tests import toy
from tests.baselines import personal_problem as problems
from tests.baselines import sub_fedavg_twin as twin

KERNELS, DENSE = 35, 8


@pytest.mark.parametrize("upload_pruned", [True, False])
def test_three_rounds_agree_with_the_twin(upload_pruned):
    problem = problems.setting(
        local_epochs=3, clip_norm=0.5, weight_decay=1e-2, client_momentum=0.5, client_lr=0.3
    )
    hyper = {"prune_percent": 12.5, "least_accuracy": 0.4}
    algorithm = toy.algorithm("sub-fedavg", problem, upload_pruned=upload_pruned, **hyper)
    (server, _, _), *after = problems.rounds_of(algorithm, problem, 3)
    state = twin.initial(problems.leaves(server.params), problems.CLIENTS)
    pruned = 0
    for t, (server, masks, metrics) in enumerate(after, start=1):
        cohort, before = problems.cohort(problem, t), state
        state, _ = twin.sub_fedavg_round(
            state,
            cohort,
            grad=problems.gradient(problem),
            accuracy=problems.accuracy(problem),
            prunable=problems.PRUNABLE,
            epochs=3,
            steps_per_epoch=1,
            lr=0.3,
            percent=12.5,
            least_accuracy=0.4,
            momentum=0.5,
            decay=1e-2,
            clip=0.5,
            upload_pruned=upload_pruned,
        )
        problems.close(problems.leaves(server.params), state["server"])
        for k in range(problems.CLIENTS):
            problems.close(problems.one_client(masks, k), state["masks"][k])
        held = [kernels(before["masks"][k]) for k in cohort]
        kept = [kernels(state["masks"][k]) for k in cohort]
        pruned += sum(a != b for a, b in zip(held, kept, strict=True))
        assert sorted(metrics.down.values) == sorted(n + DENSE for n in held)
        assert sorted(metrics.up.values) == sorted(n + DENSE for n in (kept if upload_pruned else held))
        asked = [a for a, b in zip(held, kept, strict=True) if a != b]
        found = metrics.up.universe[metrics.up.located > 0] if upload_pruned else metrics.up.mask_bits
        assert sorted(found[found > 0]) == sorted(asked)
    assert 0 < pruned < 12  # gates that were open and gates that were not


def kernels(masks):
    return sum(int(mask.sum()) for mask, chosen in zip(masks, problems.PRUNABLE, strict=True) if chosen)


def test_without_pruning_it_is_the_plain_mean():
    problem = problems.setting(client_lr=0.3)
    uniform = problem._replace(population=problem.population._replace(weight=np.ones(problems.CLIENTS)))
    *_, (server, _, _) = problems.rounds_of(
        toy.algorithm("sub-fedavg", problem, target_density=1.0), problem, 2
    )
    *_, (fedavg, _, _) = problems.rounds_of(toy.algorithm("fedavg", uniform), uniform, 2)
    toy.leaves_close(server, fedavg.variables)
