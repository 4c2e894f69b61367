"""The exact minimum of a run's objective, where that is a logistic regression. No JAX here."""

from __future__ import annotations

import numpy as np

from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.data import datasets, partition, synthetic
from fedjax_sparse.errors import UsageError


def minimum(config: RunConfig) -> float:
    """f* = min_w sum_i p_i mean_j log(1 + exp(-s_ij (x_ij, 1) . w)) + l2/2 |w|^2, by Newton's method in float64.

    The p_i are equal, l2 is the run's weight decay; the intercept is penalised like all weights, as local SGD does it.

    Args:
        config: Of a run with model logistic, a stated number of equally weighted clients and a weight decay above 0.

    Raises:
        UsageError: Its objective is another one.
    """
    data, dealt, l2 = config.data, config.partition, config.training.weight_decay
    weighting, clients = config.cohorts.weighting, dealt.clients
    if data.model != "logistic" or weighting != "uniform" or not l2 or clients == "auto":
        raise UsageError(
            f"no minimum of --model {data.model} --weighting {weighting} --weight-decay {l2} --clients {clients}; "
            "allowed: logistic, uniform, above 0, a number"
        )
    dataset = datasets.load(data.dataset, data_dir=data.data_dir, cache_dir=data.cache_dir)
    parts = partition.make(
        dealt.partition,
        dataset.y_train,
        clients,
        seed=dealt.partition_seed,
        alpha=dealt.alpha,
        classes_per_client=dealt.classes_per_client,
        client_train=dataset.client_train,
    )
    rows = np.concatenate(parts)
    share = np.repeat([1 / len(parts) / len(part) for part in parts], [len(part) for part in parts])
    x = np.column_stack([dataset.x_train[rows], np.ones(len(rows))]).astype(np.float64)
    y = dataset.y_train[rows]
    w = synthetic.logistic_regression(x, y, l2=l2, weights=share)
    return float(share @ np.logaddexp(0, (1 - 2.0 * y) * (x @ w)) + l2 / 2 * w @ w)
