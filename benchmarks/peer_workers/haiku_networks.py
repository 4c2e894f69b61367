"""The networks that the JAX peers share, in Haiku."""

# pyright: reportMissingImports=false
# Haiku is installed in the peers' environments only.

import haiku as hk
import jax
import jax.numpy as jnp

from benchmarks.workloads import Workload


def network(workload: Workload) -> hk.Transformed:
    """The network of `fedjax_sparse` with the same name, in training, on uint8[B, H, W, C]; gives logits."""
    return hk.transform(lambda x: logits(workload, x))


def logits(workload: Workload, x: jax.Array) -> jax.Array:
    """What the network computes, inside of Haiku's transformation."""
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
            raise NotImplementedError(f"{other} is not among the networks written in Haiku")
    return hk.Linear(workload.classes)(hk.Flatten()(x))


def pool(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H // 2, W // 2, C]."""
    return hk.max_pool(x, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def dropout(rate: float, x: jax.Array) -> jax.Array:
    """Sets entries to zero with probability `rate`."""
    return hk.dropout(hk.next_rng_key(), rate, x)
