"""What the figures of FLARE share: the three that stand in most of them, and what is asked of them. No JAX here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedjax_sparse.reproduction.cases import Case, Results, case
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, points_apart, together

DENSE, FLARE, CORRECTION = "dense", "FLARE", "error correction"


def three(options: Mapping[str, Any], hyper: Mapping[str, Any], **place: Any) -> Iterator[Case]:
    """Dense training, FLARE, and error correction at FLARE's share of entries sent.

    Args:
        options: Of all of them.
        hyper: Of FLARE.
        **place: Panel, place on the x axis, and options that differ from those.
    """
    yield case(DENSE, "fedavg", options, **place)
    yield case(FLARE, "flare", options, **place, **hyper)
    yield case(CORRECTION, "error-correction", options, **place, **sent(hyper))


def sent(hyper: Mapping[str, Any]) -> dict[str, Any]:
    """What rivals share with FLARE: how many entries of each tensor they send."""
    return {name: hyper[name] for name in ("keep_percent", "count_rule") if name in hyper}


def sending(hyper: Mapping[str, Any], percent: float) -> dict[str, Any]:
    """FLARE's hyper-parameters at another share of entries sent; at 0.0001 % the authors' pull decays slower."""
    slower = {"decay": 1.005} if percent == 0.0001 else {}
    return {**hyper, "keep_percent": percent, **slower}


def judge(results: Results, gap: float = 0.03) -> Verdict:
    """In every panel: above error correction by more than ten points, and at most so far below dense training."""
    return together(_of_panel(results, panel, gap) for panel in results.panels())


def _of_panel(results: Results, panel: str, gap: float) -> Verdict:
    ahead, below = (results.difference(FLARE, other, panel) for other in (CORRECTION, DENSE))
    where = f"{panel}: " if panel else ""
    return Verdict(
        all_of([above(ahead, 0.1), above(below, -gap)]),
        f"{where}FLARE ends {points_apart(ahead)} error correction (asked: 10 above) and {points_apart(below)} "
        f"dense training (asked: at most {100 * gap:.1f} below)",
    )
