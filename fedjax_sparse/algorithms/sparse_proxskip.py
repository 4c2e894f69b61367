"""Scaffnew (ProxSkip for federated learning) and what pruning makes of it.

Each method is its switches of one engine, `rounds.control_variates.proxskip`, which has the formulas and their table.
"""

import jax
import jax.numpy as jnp

from fedjax_sparse import errors
from fedjax_sparse.config.cards.sparse_proxskip import RandProx, Scaffnew, SparseProxSkip, TopK, TopKScaffnew
from fedjax_sparse.rounds.control_variates import LocalSteps, Switches, proxskip
from fedjax_sparse.sparsity import masks, schedules
from fedjax_sparse.sparsity.operators import Operator, keep_largest, keep_largest_of_each, soft_threshold
from fedjax_sparse.types import Algorithm, Federation, PyTree


def scaffnew(federation: Federation, hyper: Scaffnew, local_steps: LocalSteps | None = None) -> Algorithm:
    """Scaffnew: the dense parent; finds the exact minimiser however much the clients differ. See `proxskip`."""
    return _member(federation, hyper, Switches(_kernels(federation)), local_steps)


def sparse_proxskip(
    federation: Federation, hyper: SparseProxSkip, local_steps: LocalSteps | None = None
) -> Algorithm:
    """Sparse-ProxSkip (reconstructed): every client prunes what it sends, TopK(x_i). See `proxskip`.

    v2 takes local gradients at the pruned model (straight-through estimator). What is deployed is TopK of the
    server's mean, which as a mean of different sparse models is denser; both are reported.
    """
    top_k, among = _top_k(federation, hyper)
    ste = top_k if hyper.variant == "v2" else None
    switches = Switches(among, ste=ste, upload=top_k, deploy=top_k)
    return _member(federation, hyper, switches, local_steps)


def sparse_proxskip_local(
    federation: Federation, hyper: SparseProxSkip, local_steps: LocalSteps | None = None
) -> Algorithm:
    """Sparse-ProxSkip-Local (reconstructed): every client prunes its model after every local step. See `proxskip`.

    v2 also takes gradients at the pruned model. That matters in a round's first step alone, which starts from the
    server's denser mean. Where v2 is read as pruning once, at the end of a round, it is v2 of `sparse_proxskip`.
    """
    top_k, among = _top_k(federation, hyper)
    ste = top_k if hyper.variant == "v2" else None
    switches = Switches(among, ste=ste, local=top_k, deploy=top_k)
    return _member(federation, hyper, switches, local_steps)


def server_naive(
    federation: Federation, hyper: TopKScaffnew, local_steps: LocalSteps | None = None
) -> Algorithm:
    """Scaffnew with TopK at the server, done naively: control variates follow the pruned model. See `proxskip`.

    They no longer sum to zero: the drift cancels the mean gradient of pruned entries, so that any sparse model can
    become a fixed point. This is FedComLoc-Global, too.
    """
    top_k, among = _top_k(federation, hyper)
    return _member(federation, hyper, Switches(among, server=top_k, reference="model"), local_steps)


def server_modified(
    federation: Federation, hyper: TopKScaffnew, local_steps: LocalSteps | None = None
) -> Algorithm:
    """Scaffnew with TopK at the server; control variates follow the mean before pruning. See `proxskip`.

    They sum to zero, but the fixed point is not a minimiser. Clients need the mean itself, so nothing is saved on the
    way down.
    """
    top_k, among = _top_k(federation, hyper)
    return _member(federation, hyper, Switches(among, server=top_k), local_steps)


def randprox_l1(federation: Federation, hyper: RandProx, local_steps: LocalSteps | None = None) -> Algorithm:
    """RandProx for min f(x) + lambda |x|_1: clients soft-threshold at gamma lambda after every step. See `proxskip`.

    `hyper.l1` is lambda. Converges to the exact minimiser of a convex problem; how sparse that is, lambda decides.
    """
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    return _member(federation, hyper, Switches(among, local=soft_threshold(hyper.l1, among)), local_steps)


def proxskip_l1(federation: Federation, hyper: RandProx, local_steps: LocalSteps | None = None) -> Algorithm:
    """ProxSkip for min f(x) + lambda |x|_1: the server soft-thresholds at gamma lambda / p. See `proxskip`.

    Exact as RandProx is, since the shift by (gamma / p) h_i is kept; the h_i then sum to a subgradient of the l1 norm
    instead of zero. Clients send dense models.
    """
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    threshold = soft_threshold(hyper.l1 / hyper.probability, among)
    switches = Switches(among, server=threshold, reference="model", shift=True)
    return _member(federation, hyper, switches, local_steps)


def fedcomloc_local(
    federation: Federation, hyper: TopKScaffnew, local_steps: LocalSteps | None = None
) -> Algorithm:
    """FedComLoc-Local: gradients are taken at TopK(x_i); models travel dense. See `proxskip`."""
    top_k, among = _top_k(federation, hyper)
    switches = Switches(among, ste=top_k, deploy=top_k)
    return _member(federation, hyper, switches, local_steps)


def fedcomloc_com(
    federation: Federation, hyper: TopKScaffnew, local_steps: LocalSteps | None = None
) -> Algorithm:
    """FedComLoc-Com: what clients send is TopK(x_i). With TopK it is v1 of `sparse_proxskip`. See `proxskip`."""
    top_k, among = _top_k(federation, hyper)
    switches = Switches(among, upload=top_k, deploy=top_k)
    return _member(federation, hyper, switches, local_steps)


def fedavg_client_topk(federation: Federation, hyper: TopK) -> Algorithm:
    """FedAvg in which every client sends TopK of its model (not of its update); no control variates. See `proxskip`.

    Local work is that of the run, `--local-epochs` or `--local-steps`.
    """
    top_k, among = _top_k(federation, hyper)
    return proxskip(federation, Switches(among, control=False, upload=top_k, deploy=top_k))


def fedavg_server_topk(federation: Federation, hyper: TopK) -> Algorithm:
    """FedAvg in which the server prunes the mean to TopK in every round; no control variates. See `proxskip`.

    Local work is that of the run, `--local-epochs` or `--local-steps`.
    """
    top_k, among = _top_k(federation, hyper)
    return proxskip(federation, Switches(among, control=False, server=top_k))


def steps_by_coin(hyper: Scaffnew) -> LocalSteps:
    """The local steps of a round: throws until a coin of chance p comes up, or always 1 / p, rounded."""
    if hyper.coin == "fixed":
        return lambda t, key: jnp.asarray(round(1 / hyper.probability), jnp.int32)
    return lambda t, key: jax.random.geometric(key, hyper.probability, dtype=jnp.int32)


def _top_k(federation: Federation, hyper: TopK | TopKScaffnew) -> tuple[Operator, PyTree]:
    """TopK as the hyper-parameters have it, and the leaves that it chooses from."""
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    sizes = masks.prunable_sizes(federation.params, among)
    groups = [size for size in sizes if size] if hyper.layerwise else [sum(sizes)]
    smallest = min(groups, default=0)
    if schedules.round_pruned(smallest, hyper.sparsity) == 0:
        raise errors.UsageError(
            f"--sparsity = {hyper.sparsity} keeps none of the {smallest} prunable weights"
            f"{' of a layer' if hyper.layerwise else ''}; allowed: at most {1 - 1 / max(smallest, 1):.6g}"
        )
    kept = [schedules.round_pruned(size, hyper.sparsity) for size in (sizes if hyper.layerwise else groups)]
    return keep_largest_of_each(kept, among) if hyper.layerwise else keep_largest(kept[0], among), among


def _kernels(federation: Federation) -> PyTree:
    return masks.prunable(federation.kinds, masks.SCOPES["kernels"])


def _member(
    federation: Federation,
    hyper: Scaffnew,
    switches: Switches,
    local_steps: LocalSteps | None,
) -> Algorithm:
    """A method with control variates; `local_steps` replays given rounds in place of the coin."""
    return proxskip(federation, switches, hyper.probability, local_steps or steps_by_coin(hyper))
