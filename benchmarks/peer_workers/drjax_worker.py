"""DrJAX: `python drjax_worker.py WORKLOAD`; a round is one of its programs, jitted, with Haiku networks.

A program says what is mapped over clients and what is reduced; `map_fn` is a vmap over the cohort.
"""

# pyright: reportMissingImports=false
# DrJAX is installed in the peers' environments only.

import sys
from collections.abc import Callable

import drjax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.peer_workers import haiku_networks, protocol
from benchmarks.workloads import LEARNING_RATE, WORKLOADS, Workload


def trainer(workload: Workload, apply: Callable) -> Callable:
    """(params, x, y, key) of one client -> its params after a pass over its shuffled examples."""

    def loss(params, key, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, key, x), y).mean()

    def train(params, x, y, key):
        def step(params, batch):
            rows, key = batch
            gradient = jax.grad(loss)(params, key, x[rows], y[rows])
            return jax.tree.map(lambda w, g: w - LEARNING_RATE * g, params, gradient), None

        order, *keys = jax.random.split(key, 1 + workload.steps)
        rows = jax.random.permutation(order, workload.examples).reshape(workload.steps, workload.batch)
        return jax.lax.scan(step, params, (rows, jnp.stack(keys)))[0]

    return train


def main(name: str) -> None:
    workload = WORKLOADS[name]
    network = haiku_networks.network(workload)
    train = trainer(workload, network.apply)

    @jax.jit
    @drjax.program(clients=workload.cohort)
    def one_round(params, x, y, ids, key):
        keys = jax.random.split(key, workload.cohort)
        trained = drjax.map_fn(train, (drjax.broadcast(params), x[ids], y[ids], keys))
        return drjax.reduce_mean(trained)

    x, y = map(jnp.asarray, workload.arrays())
    params = network.init(jax.random.key(0), x[0, :1])
    generator, done = np.random.default_rng(0), 0
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    for rounds in protocol.turns(size, ("drjax", "jax")):
        for _ in range(rounds):
            ids = generator.choice(workload.clients, workload.cohort, replace=False)
            params = one_round(params, x, y, ids, jax.random.key(done))
            done += 1
        jax.block_until_ready(params)


if __name__ == "__main__":
    main(sys.argv[1])
