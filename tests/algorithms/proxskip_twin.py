"""The Scaffnew family written from its pseudo-code, one local step after another, in NumPy float64. Slow on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

Operator = Callable[[np.ndarray], np.ndarray]


def same(x: np.ndarray) -> np.ndarray:
    return x


def top_k(k: int) -> Operator:
    """The k entries of a vector that are largest in magnitude; a stable sort gives ties to the first."""

    def apply(x: np.ndarray) -> np.ndarray:
        kept = np.argsort(-np.abs(x), kind="stable")[:k]
        pruned = np.zeros_like(x)
        pruned[kept] = x[kept]
        return pruned

    return apply


def soft(threshold: float) -> Operator:
    return lambda x: np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


class Run(NamedTuple):
    """Models x[n, d], control variates h[n, d], the server's model [d] and what was last sent, [n, d]."""

    x: np.ndarray
    h: np.ndarray
    server: np.ndarray
    sent: np.ndarray


def scaffnew(
    gradient: Callable[[int, np.ndarray], np.ndarray],
    start: np.ndarray,
    coins: Iterable[bool],
    *,
    clients: int,
    gamma: float,
    p: float,
    ste: Operator = same,
    local: Operator = same,
    upload: Operator = same,
    server: Operator = same,
    reference: str = "mean",
    shift: bool = False,
    control: bool = True,
    h: np.ndarray | None = None,
) -> Run:
    """One local step of every client for each coin; those whose coin shows communicate.

    Args:
        gradient: (client, model) -> gradient of that client's loss.
        start: f[d], the first model of all clients.
        coins: The coin of each step.
        clients: n.
        gamma: Step size.
        p: Chance of the coin.
        ste: Where gradients are taken.
        local: After every step.
        upload: Before sending.
        server: On the mean.
        reference: "mean" or "model": what control variates are compared with.
        shift: Whether (gamma / p) h_i is taken off what is sent.
        control: False keeps h = 0.
        h: f[n, d], the first control variates; zeros by default.
    """
    x = [start.copy() for _ in range(clients)]
    h = np.zeros((clients, len(start))) if h is None else h.copy()
    model, sent = start, np.zeros((clients, len(start)))
    for coin in coins:
        for i in range(clients):
            x[i] = local(x[i] - gamma * (gradient(i, ste(x[i])) - h[i]))
        if not coin:
            continue
        sent = np.stack([upload(x[i]) for i in range(clients)])
        mean = np.mean([sent[i] - (gamma / p * h[i] if shift else 0) for i in range(clients)], axis=0)
        model = server(mean)
        for i in range(clients):
            x[i] = model.copy()
            if control:
                h[i] = h[i] + p / gamma * ((model if reference == "model" else mean) - sent[i])
    return Run(np.stack(x), h, model, sent)
