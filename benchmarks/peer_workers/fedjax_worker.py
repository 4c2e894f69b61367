"""FedJAX: `python fedjax_worker.py WORKLOAD`; its own federated averaging with the jit backend, Haiku networks."""

# pyright: reportMissingImports=false
# FedJAX is installed in the peers' environments only.

import sys

import fedjax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from fedjax.algorithms import fed_avg

from benchmarks.peer_workers import protocol
from benchmarks.workloads import LEARNING_RATE, WORKLOADS, Workload


def pool(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H // 2, W // 2, C]."""
    return hk.max_pool(x, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def dropout(rate: float, x: jax.Array) -> jax.Array:
    """Sets entries to zero with probability `rate`."""
    return hk.dropout(hk.next_rng_key(), rate, x)


def logits(workload: Workload, x: jax.Array) -> jax.Array:
    """The network of `fedjax_sparse` with the same name, in training, on uint8[B, H, W, C]."""
    x, relu = x.astype(jnp.float32) / 255, jax.nn.relu
    match workload.model:
        case "softmax":
            pass
        case "mlp":
            x = relu(hk.Linear(128)(relu(hk.Linear(128)(hk.Flatten()(x)))))
        case "femnist_cnn":
            x = pool(relu(hk.Conv2D(64, 5)(pool(relu(hk.Conv2D(32, 5)(x))))))
            x = relu(hk.Linear(2048)(hk.Flatten()(x)))
        case "pfl_cnn":
            x = relu(hk.Conv2D(32, 3, padding="VALID")(x))
            x = dropout(0.25, pool(relu(hk.Conv2D(64, 3, padding="VALID")(x))))
            x = dropout(0.5, relu(hk.Linear(128)(hk.Flatten()(x))))
        case other:
            raise NotImplementedError(f"{other} is not among the networks written for FedJAX")
    return hk.Linear(workload.classes)(hk.Flatten()(x))


def make_model(workload: Workload) -> fedjax.Model:
    """The network with its loss."""
    return fedjax.create_model_from_haiku(
        hk.transform(lambda batch: logits(workload, batch["x"])),
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
