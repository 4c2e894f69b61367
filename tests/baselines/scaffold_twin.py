"""SCAFFOLD (Karimireddy et al., 2020) from its pseudo-code, in NumPy float64. Slow on purpose.

    client k in S:  y = x;  K_k times:  y -= lr (g_k(y) - c_k + c)
        option I :  c_k+ = grad f_k(x)                       one more pass over the local data, at x
        option II:  c_k+ = c_k - c + (x - y) / (K_k lr)
    server:  x += server_lr mean_S(y_k - x)                  unweighted
             c += (1/N) SUM_S (c_k+ - c_k)                   = (|S|/N) mean_S

Formulas as alpemreacar/FedDyn 48a19fa, Xtra-Computing/NIID-Bench 61b901a and apple/pfl-research agree on them; the
paper published no code. c stays mean_k c_k over all N clients, and a client never sampled keeps c_k = 0.
What the first two repositories do otherwise comes as arguments and is off unless given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tests.baselines.local_training_twin import Gradient, mean

State = dict[str, np.ndarray]


def init(x: np.ndarray, clients: int, *, control: float | np.ndarray = 0.0) -> State:
    """x: f[d]; c: f[d]; c_k: f[N, d]. NIID-Bench fills c and every c_k with one random network (niid_c0)."""
    c = np.zeros_like(x) + control
    return {"x": x, "c": c, "c_k": np.tile(c, (clients, 1))}


def clip(g: np.ndarray, most: float | None) -> np.ndarray:
    """g scaled down to a norm of at most `most`; None leaves it."""
    norm = np.linalg.norm(g)
    return g if most is None or norm <= most else g * (most / norm)


def run_round(
    state: State,
    cohort: Sequence[int],
    grad: Gradient,
    *,
    steps: Sequence[int],
    lr: float,
    server_lr: float = 1.0,
    full_gradient: Callable[[int, np.ndarray], np.ndarray] | None = None,
    control_lr: float | None = None,
    omega: Sequence[float] | np.ndarray | None = None,
    clip_norm: float | None = None,
    weight_decay: float = 0.0,
) -> tuple[State, dict[int, np.ndarray]]:
    """The state after a round, and the y_k of the cohort.

    Args:
        state: Of `init`.
        cohort: Ids.
        grad: (client, model, step) -> gradient on that step's batch.
        steps: K_k, of each client.
        lr: Step size of this round.
        server_lr: eta_g.
        full_gradient: (client, x) -> grad f_k(x) makes it option I; None is option II.
        control_lr: What option II divides by in place of lr: the undecayed step size (dyn_lr_bug).
        omega: N n_k / sum n for each client (dyn_weights): the correction is -c_k + c / omega_k and c takes
            (1/N) sum omega_k (c_k+ - c_k), while c_k+ still subtracts the unscaled c.
        clip_norm: Largest norm of gradient plus correction (dyn_clip).
        weight_decay: Added to the step outside the clip (dyn_clip).
    """
    x, c, c_k = state["x"], state["c"], state["c_k"]
    scale = np.ones(len(c_k)) if omega is None else np.asarray(omega)
    models, controls = {}, c_k.copy()
    for k in cohort:
        y = x.copy()
        for step in range(steps[k]):
            direction = grad(k, y, step) - c_k[k] + c / scale[k]
            y = y - lr * (clip(direction, clip_norm) + weight_decay * y)
        models[k] = y
        if full_gradient is not None:
            controls[k] = full_gradient(k, x)
        else:
            controls[k] = c_k[k] - c + (x - y) / (steps[k] * (lr if control_lr is None else control_lr))
    change = sum(scale[k] * (controls[k] - c_k[k]) for k in cohort) / len(c_k)
    return {"x": x + server_lr * (mean(models, cohort) - x), "c": c + change, "c_k": controls}, models


def niid_round(
    state: State,
    cohort: Sequence[int],
    local_step: Callable[[int, np.ndarray, int, Any], tuple[np.ndarray, Any]],
    *,
    steps: Sequence[int],
    lr: float,
    counts: Sequence[float],
) -> State:
    """A round over the whole state dict, BatchNorm statistics included, as NIID-Bench runs it (niid_bn); option II.

    The correction comes after the optimiser's step, so momentum does not see it: y = step(y) - lr (c - c_k).
    The mean of models is weighted by n_k; that of the controls is not.

    Args:
        state: Of `init`; its vectors hold parameters and statistics.
        cohort: Ids.
        local_step: (client, y, step, memory) -> (y, memory): the plain optimiser's step with what a forward pass
            does to the statistics. Memory is None at the first step of a round.
        steps: K_k, of each client.
        lr: Step size.
        counts: n_k, of each client.
    """
    x, c, c_k = state["x"], state["c"], state["c_k"]
    models, controls = {}, c_k.copy()
    for k in cohort:
        y, memory = x.copy(), None
        for step in range(steps[k]):
            y, memory = local_step(k, y, step, memory)
            y = y - lr * (c - c_k[k])
        models[k] = y
        controls[k] = c_k[k] - c + (x - y) / (steps[k] * lr)
    change = (controls - c_k).sum(axis=0) / len(c_k)
    return {"x": mean(models, cohort, counts), "c": c + change, "c_k": controls}


def bernoulli_cohort(draws: Iterable[np.ndarray], p: float) -> list[int]:
    """Clients whose number, uniform in [0, 1), is at most p; rows are taken until one has a client (dyn_cohort)."""
    for row in draws:
        chosen = [k for k, u in enumerate(row) if u <= p]
        if chosen:
            return chosen
    raise ValueError("no row of draws has a client")


def common_steps(counts: Sequence[int], batch: int, epochs: int) -> int:
    """The same K for every client, ceil(mean n / batch) epochs (dyn_cohort)."""
    return int(np.ceil(np.mean(counts) / batch)) * epochs
