"""The head to head's plans and verdicts; its runs are those of sweep and compare."""

from benchmarks import head_to_head
from fedjax_sparse.config import comparison, registry
from fedjax_sparse.config.comparison import Comparison

TABLE = """algorithm,sparsity,seeds,score_mean,note
flare,,3,0.8,
sparsyfed,0.9,3,0.76,
sparsyfed,0.95,3,0.6,
fedavg,,3,0.75,
feddst,0.9,3,0.65,
feddst,0.95,3,0.9,
zerofl,0.95,0,,seed 0 diverged in round 1
"""


def test_the_subset_has_the_five_systems_and_eight_rivals_at_95_percent():
    plan = head_to_head.plan_of(True, "cpu")
    assert (len(plan.algorithms), plan.sparsities) == (5 + 8, (0.95,))
    assert set(plan.algorithms) <= set(registry.names())


def test_everything_is_the_whole_registry():
    plan = head_to_head.plan_of(False, "cpu")
    assert set(plan.algorithms) >= set(registry.algorithms())
    assert plan.sparsities == (0.9, 0.95, 0.99)


def test_what_algorithms_have_apart_are_options_that_they_have():
    asked = Comparison(tuple(head_to_head.OWN), (0.9,), own=head_to_head.OWN)
    assert len(asked.cases()) == len(head_to_head.OWN)
    assert comparison.to_toml_dict(asked)["algorithm"] == head_to_head.OWN


def test_a_system_is_beaten_by_rivals_of_its_sparsity_the_best_first(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    assert [*head_to_head.verdicts(tmp_path)] == [
        "- flare (80.0) is beaten by feddst (90.0).",
        "- sparsyfed 0.9 (76.0) is beaten by none of the rivals.",
        "- sparsyfed 0.95 (60.0) is beaten by feddst (90.0), fedavg (75.0).",
    ]
