"""FedAdagrad, FedAdam, FedYogi (Reddi et al., 2021) and FedAvgM from their formulas, in NumPy float64. Slow on purpose.

Delta = sum_S p_k (y_k - x)                             p_k = n_k / sum_S n_j
m = b1 m + (1 - b1) Delta                               m = 0 before the first round
v: Adagrad  v + Delta^2
   Adam     b2 v + (1 - b2) Delta^2
   Yogi     v - (1 - b2) Delta^2 sign(v - Delta^2)      sign(0) = 0
x += lr m / (sqrt(v) + tau)                             no bias correction; tau outside the root

variant     start of v     else
paper       tau^2          as above
flower      0              adap/flower, server/strategy/{fedadam,fedyogi}.py
tff         its own        google-parfait/tensorflow-federated, learning/optimizers: lr sqrt(1 - b2^t) / (1 - b1^t)
keras-yogi  1              google-research/federated a5af8c4, utils/optimizers/yogi.py; as tff otherwise

FedAvgM (adap/flower fedavgm.py):  m = beta m + Delta;  x += lr m;  the first m is Delta
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

State = dict[str, Any]
Second = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def adagrad(v: np.ndarray, delta: np.ndarray, b2: float) -> np.ndarray:
    del b2
    return v + delta**2


def adam(v: np.ndarray, delta: np.ndarray, b2: float) -> np.ndarray:
    return b2 * v + (1 - b2) * delta**2


def yogi(v: np.ndarray, delta: np.ndarray, b2: float) -> np.ndarray:
    return v - (1 - b2) * delta**2 * np.sign(v - delta**2)


SECOND: dict[str, Second] = {"adagrad": adagrad, "adam": adam, "yogi": yogi}

# The defaults of a variant; what a source leaves open is absent. In `paper` v starts at tau^2, whatever tau is.
DEFAULTS: dict[tuple[str, str], dict[str, float]] = {
    ("paper", "adagrad"): {"b1": 0.0, "tau": 1e-3},
    ("paper", "adam"): {"b1": 0.9, "b2": 0.99, "tau": 1e-3},
    ("paper", "yogi"): {"b1": 0.9, "b2": 0.99, "tau": 1e-3},
    ("flower", "adam"): {"lr": 0.1, "b1": 0.9, "b2": 0.99, "tau": 1e-9, "v0": 0.0},
    ("flower", "yogi"): {"lr": 0.01, "b1": 0.9, "b2": 0.99, "tau": 1e-3, "v0": 0.0},
    ("tff", "adagrad"): {"tau": 1e-7, "v0": 0.1},
    ("tff", "adam"): {"b1": 0.9, "b2": 0.999, "tau": 1e-7, "v0": 0.0},
    ("tff", "yogi"): {"b1": 0.9, "b2": 0.999, "tau": 1e-3, "v0": 1e-6},
    ("keras-yogi", "yogi"): {"b1": 0.9, "b2": 0.999, "tau": 1e-3, "v0": 1.0},
}
BIAS_CORRECTED = {"tff", "keras-yogi"}


def first_v(variant: str, rule: str, tau: float) -> float:
    return tau**2 if variant == "paper" else DEFAULTS[variant, rule]["v0"]


def init(x: np.ndarray, v0: float = 0.0) -> State:
    return {"x": x, "m": np.zeros_like(x), "v": np.full_like(x, v0), "t": 0}


def adaptive_round(
    state: State,
    delta: np.ndarray,
    *,
    rule: str,
    lr: float,
    b1: float,
    b2: float,
    tau: float,
    bias_correction: bool = False,
    mask: np.ndarray | None = None,
) -> State:
    """The server's step.

    Args:
        state: Of `init`.
        delta: f[d], the weighted mean update.
        rule: "adagrad", "adam" or "yogi".
        lr: eta.
        b1: Of m.
        b2: Of v; unused by Adagrad.
        tau: Added to the root.
        bias_correction: Whether lr is multiplied by sqrt(1 - b2^t) / (1 - b1^t), t from 1; not with Adagrad.
        mask: Zeroes m and x: m would move pruned coordinates for ever.
    """
    t = state["t"] + 1
    m = b1 * state["m"] + (1 - b1) * delta
    v = SECOND[rule](state["v"], delta, b2)
    if bias_correction:
        lr = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
    x = state["x"] + lr * m / (np.sqrt(v) + tau)
    if mask is not None:
        m, x = m * mask, x * mask
    return {"x": x, "m": m, "v": v, "t": t}


def tff_adagrad_round(state: State, delta: np.ndarray, *, lr: float, tau: float) -> State:
    v = adagrad(state["v"], delta, 0.0)
    return {**state, "x": state["x"] + lr * delta / np.sqrt(v + tau), "v": v, "t": state["t"] + 1}


def momentum_round(
    state: State, delta: np.ndarray, *, lr: float, beta: float, mask: np.ndarray | None = None
) -> State:
    """FedAvgM: PyTorch's convention, no dampening, no Nesterov."""
    m = beta * state["m"] + delta
    x = state["x"] + lr * m
    if mask is not None:
        m, x = m * mask, x * mask
    return {**state, "x": x, "m": m, "t": state["t"] + 1}
