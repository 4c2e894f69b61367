"""Ditto, from [DIS] ``ditto``. Dense. State: {server, personal}, personal models by client, at first all the server's.

    client k in S:  global branch     y = server, SGD (E = 2 epochs)
                    personal branch   SGD on v_k (3 epochs); after each step  v_k -= lr lambda (v_k - server received)
    server:         sum_S n_k y_k / sum_S n_k
    measured:       v_k of all clients; a client that never took part has the initial weights

The pull acts on v_k after the step. ``joint=True`` is the textbook's gradient g(v) + lambda (v - server), at the old v
and within the clip: it differs by lr^2 lambda g after one step without clipping.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.baselines.personal_twin import Gradient, Params, mean, sgd


def initial(start: Params, clients: int) -> dict:
    return {"server": start, "personal": [start for _ in range(clients)]}


def ditto_round(
    state: dict,
    cohort: Sequence[int],
    *,
    grad: Gradient,
    sizes: Sequence[float],
    global_steps: int,
    personal_steps: int,
    lr: float,
    lam: float,
    decay: float = 0.0,
    clip: float = math.inf,
    joint: bool = False,
) -> dict:
    """One round. Steps 0, 1, ... of a client are the global branch's, then those of the personal one."""
    server, uploads, personal = state["server"], [], list(state["personal"])

    def towards(params: Params) -> Params:
        return [v - lr * lam * (v - w) for v, w in zip(params, server, strict=True)]

    def pull(gradients: Params, params: Params) -> Params:
        return [g + lam * (v - w) for g, v, w in zip(gradients, params, server, strict=True)]

    for k in cohort:

        def gradient(params: Params, step: int, k: int = k) -> Params:
            return grad(k, params, step)

        uploads.append(sgd(gradient, server, range(global_steps), lr, decay=decay, clip=clip))
        personal[k] = sgd(
            gradient,
            personal[k],
            range(global_steps, global_steps + personal_steps),
            lr,
            before=pull if joint else None,
            after=None if joint else towards,
            decay=decay,
            clip=clip,
        )
    return {"server": mean(uploads, [sizes[k] for k in cohort]), "personal": personal}
