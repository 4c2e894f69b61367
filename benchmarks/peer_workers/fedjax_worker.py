"""FedJAX: `python fedjax_worker.py WORKLOAD`; its own federated averaging with the jit backend, Haiku networks."""

# pyright: reportMissingImports=false
# FedJAX is installed in the peers' environments only.

import sys

import fedjax
import jax
import numpy as np
from fedjax.algorithms import fed_avg

from benchmarks.peer_workers import haiku_networks, protocol
from benchmarks.workloads import LEARNING_RATE, WORKLOADS, Workload


def make_model(workload: Workload) -> fedjax.Model:
    """The network with its loss."""
    network = haiku_networks.network(workload)
    return fedjax.create_model_from_haiku(
        network._replace(
            init=lambda key, batch: network.init(key, batch["x"]),
            apply=lambda params, key, batch: network.apply(params, key, batch["x"]),
        ),
        {"x": np.zeros((1, *workload.shape), np.uint8), "y": np.zeros(1, np.int32)},
        train_loss=lambda batch, outputs: fedjax.metrics.unreduced_cross_entropy_loss(batch["y"], outputs),
        eval_metrics={},
    )


def main(name: str) -> None:
    workload = WORKLOADS[name]
    clients = zip(*workload.arrays(), strict=True)
    data = fedjax.InMemoryFederatedData({str(i): {"x": x, "y": y} for i, (x, y) in enumerate(clients)})
    model = make_model(workload)
    algorithm = fed_avg.federated_averaging(
        fedjax.model_grad(model),
        fedjax.optimizers.sgd(LEARNING_RATE),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=workload.batch, num_epochs=1),
    )
    sampler = fedjax.client_samplers.UniformGetClientSampler(data, workload.cohort, seed=0)
    params = model.init(jax.random.PRNGKey(0))
    state = algorithm.init(params)
    size = sum(leaf.size for leaf in jax.tree_util.tree_leaves(params))
    for rounds in protocol.turns(size, ("fedjax", "jax")):
        for _ in range(rounds):
            state, _ = algorithm.apply(state, sampler.sample())
        jax.block_until_ready(state.params)


if __name__ == "__main__":
    main(sys.argv[1])
