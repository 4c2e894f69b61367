"""FedDyn (Acar et al., 2021) as its official code alpemreacar/FedDyn 48a19fa, in NumPy float64. Slow on purpose.

client k in S:  z = theta;  K_k times  z -= lr (g_k(z) + wd z + alpha_k (z - theta + l_k))
                l_k += z - theta;  y_k = z              l_k of all clients start at 0 and persist
server:  avg = mean_S y_k;  theta = avg + (1/N) sum_{ALL k} l_k

alpha_k = alpha / omega_k,  omega_k = N n_k / sum n     1 when every client has as many samples
The paper's form: a client's gradient state is -alpha l_k, h = -(alpha/N) sum l_k, theta = avg - h / alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.baselines.local_training_twin import Gradient, mean
from tests.baselines.scaffold_twin import clip

State = dict[str, Any]


def init(x: np.ndarray, clients: int) -> State:
    """theta: f[d] is the cloud model; l: f[N, d]; last: f[N, d], the last y_k known of each client, at first x."""
    return {"theta": x, "avg": x, "l": np.zeros((clients, len(x))), "last": np.tile(x, (clients, 1))}


def run_round(
    state: State,
    cohort: Sequence[int],
    grad: Gradient,
    *,
    steps: Sequence[int],
    lr: float,
    alpha: float,
    omega: Sequence[float] | np.ndarray | None = None,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> State:
    """One round.

    Args:
        state: Of `init`.
        cohort: Ids.
        grad: (client, model, step) -> gradient.
        steps: K_k, of each client.
        lr: Step size.
        alpha: Strength of the regulariser.
        omega: N n_k / sum n, of each client; 1 by default.
        weight_decay: wd.
        clip_norm: Largest norm of the gradient plus the linear term alpha_k (l_k - theta). The quadratic term
            alpha_k z goes as weight decay in the official code and so escapes the clip.
    """
    theta, shift, last = state["theta"], state["l"].copy(), state["last"].copy()
    for k in cohort:
        strength = alpha / (1.0 if omega is None else omega[k])
        z = theta.copy()
        for step in range(steps[k]):
            linear = grad(k, z, step) + strength * (shift[k] - theta)
            z = z - lr * (clip(linear, clip_norm) + (strength + weight_decay) * z)
        shift[k] = shift[k] + z - theta
        last[k] = z
    avg = mean({k: last[k] for k in cohort}, cohort)
    return {"theta": avg + shift.mean(axis=0), "avg": avg, "l": shift, "last": last}


def server_h(state: State, alpha: float) -> np.ndarray:
    """The paper's h."""
    return -alpha * state["l"].sum(axis=0) / len(state["l"])


def reported(state: State) -> dict[str, np.ndarray]:
    """The three models that are evaluated apart; the official plots show `all`."""
    return {"cloud": state["theta"], "avg": state["avg"], "all": state["last"].mean(axis=0)}


def paper_round(
    state: State, cohort: Sequence[int], grad: Gradient, *, steps: Sequence[int], lr: float, alpha: float
) -> State:
    """The same round in the paper's form; state is {"theta": f[d], "gradient": f[N, d], "h": f[d]}.

    client: minimise f_k(z) - <gradient_k, z> + (alpha/2) ||z - theta||^2;  gradient_k -= alpha (z - theta)
    server: h -= (alpha/N) sum_S (y_k - theta);  theta = mean_S y_k - h / alpha
    """
    theta, gradient = state["theta"], state["gradient"].copy()
    models = {}
    for k in cohort:
        z = theta.copy()
        for step in range(steps[k]):
            z = z - lr * (grad(k, z, step) - state["gradient"][k] + alpha * (z - theta))
        models[k] = z
        gradient[k] = gradient[k] - alpha * (z - theta)
    h = state["h"] - alpha / len(gradient) * sum(models[k] - theta for k in cohort)
    return {"theta": mean(models, cohort) - h / alpha, "gradient": gradient, "h": h}
