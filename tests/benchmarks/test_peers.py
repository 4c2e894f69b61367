"""How workers and their parent take turns, with workers that do nothing."""

import pytest

from benchmarks import peers
from benchmarks.peer_workers.process import Framework

WORKER = """
from benchmarks.peer_workers import protocol
print("what a library prints is no reply")
for turn, rounds in enumerate(protocol.turns({parameters}, ("numpy",), {{"choice": lambda: None}})):
    {body}
"""


@pytest.fixture
def make_worker(tmp_path):
    def make(name: str, parameters: int = 10, body: str = "pass") -> Framework:
        script = tmp_path / f"{name}.py"
        script.write_text(WORKER.format(parameters=parameters, body=body))
        return Framework(str(script), note="a note")

    return make


def test_all_take_turns(make_worker, tmp_path):
    chosen = {"ours": make_worker("a"), "peer": make_worker("b")}
    ours, peer = peers.measure("mlp", chosen, tmp_path, 2)
    assert (ours["framework"], peer["framework"]) == ("ours", "peer")
    assert ours["time / ours"] == 1
    assert peer["time / ours"] == pytest.approx(peer["ms a round"] / ours["ms a round"])
    assert peer["clients/s"] == pytest.approx(100 / peer["ms a round"] * 1000)
    assert peer["made of"].startswith("numpy ")
    assert peer["made of"].endswith(", choice, a note")


@pytest.mark.parametrize("turn", [0, 3])
def test_a_failure_becomes_a_row_and_the_others_go_on(make_worker, tmp_path, turn):
    broken = make_worker("a", body=f"assert turn < {turn}, 'broken'")
    failed, fine = peers.measure("mlp", {"peer": broken, "ours": make_worker("b")}, tmp_path, 3)
    assert failed["made of"] == "AssertionError: broken"
    assert failed["ms a round"] is None
    assert fine["ms a round"] > 0


def test_networks_of_different_sizes_are_refused(make_worker, tmp_path):
    with pytest.raises(SystemExit, match="'peer': 11"):
        peers.measure("mlp", {"ours": make_worker("a"), "peer": make_worker("b", 11)}, tmp_path, 1)
