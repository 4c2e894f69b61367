"""ZeroFL: sparse training of dense weights (SWAT) at the clients, and sparse uploads."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import errors, trees
from fedjax_sparse.clients.local_training import identity, in_sequence, make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.config.cards.zerofl import Swat, ZeroFL
from fedjax_sparse.costs.counts import Report, subset_message, training_work
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.server.optimizer import step_along
from fedjax_sparse.sparsity import activations, consensus, masks, saliency, schedules, topk
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, PyTree, State, Trained, Variables


class Server(NamedTuple):
    """The server's model, dense where anyone sent something, and the state of its optimiser."""

    variables: Variables
    opt: PyTree


class Layers(NamedTuple):
    """The layers that are sparse in local training.

    Attributes:
        chosen: Python bool for each leaf.
        counts: i32[L], entries that count: ceil((1 - s) n) of the chosen leaves, all of the others.
        share: 1 - s.
    """

    chosen: PyTree
    counts: np.ndarray
    share: float

    def active(self, params: PyTree) -> PyTree:
        """The weights of the forward pass: the largest of each chosen leaf, zero elsewhere."""
        return masks.apply(
            topk.largest_per_leaf(saliency.magnitude(params), self.counts, self.chosen), params
        )

    def names(self) -> frozenset[str]:
        """Of the chosen kernels."""
        named = zip(trees.names(self.chosen), jax.tree.leaves(self.chosen), strict=True)
        return frozenset(name for name, yes in named if yes)


def zerofl(federation: Federation, hyper: ZeroFL) -> Algorithm:
    """SWAT at the clients, whose dense weights are evaluated and sent sparse.

    Local step of client i on its dense weights w, in the chosen layers, of s = `sparsity`:

        w'  = the ceil((1 - s) n) largest |w| of each layer, 0 elsewhere;  forward pass and input gradients with w'
        w   = w - eta (dL/dw' + decay w),  dL/dw' for all of w, from the ceil((1 - s) n) largest |inputs| of a batch

    Upload, with K = 1 - s + r of all kernels' entries (`mask_ratio` r), N - round((s - r) N) of them:

        weights            the largest |w_i|;                     w = sum_i p_i sent_i
        diff-on-weights    w_i - w where |w_i| is largest;        w = w + sum_i p_i sent_i
        diff               the largest |w_i - w|;                 w = w + sum_i p_i sent_i

    All else (biases, norms) is sent whole. Deployed is w', `server_model` is w. With r = s everything is sent: `swat`.

    State: the model. Costs: values with their positions, both ways; the living share of each chosen layer in the
    forward pass and both gradients. Logged: what `sparsyfed` logs of supports, here those of w.

    Departures. ZeroFL is about ResNet-18, of which it makes the 3x3 convolutions sparse, and not the input's
    (`sparse_layers` "convolutions"); by default here all layers that do not see the data. Counts are left open by the
    paper: by layer in training, among all kernels together in the upload (`upload_scope`). SWAT's code looks for new
    thresholds every ten batches; here every step has its own. The server's optimiser steps along the mean.

    `version` "sparsyfed" is what SparsyFed's code compares itself with. Each forward pass overwrites the weights by
    those of magnitude t or more, t being the layer's threshold in the round's first batch, so that what is small is
    lost and grows again from zero; convolutions keep their first batch's threshold of the inputs, too. The mean over
    what is not zero that the code names is the plain mean. Deployed is w.

    References:
        Qiu et al., ZeroFL: Efficient On-Device Training for Federated Learning with Local Sparsity (arXiv 2208.02507);
        Raihan and Aamodt, Sparse Weight Activation Training (arXiv 2001.01969).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    layers = _layers(federation, hyper)
    sizes = masks.prunable_sizes(federation.params, among)
    upload_sparsity = float(schedules.exact(hyper.sparsity) - schedules.exact(hyper.mask_ratio))
    count = functools.partial(schedules.round_pruned, sparsity=upload_sparsity)
    if hyper.upload_scope == "global":
        kept = count(sum(sizes))
        select = functools.partial(topk.largest_global, k=kept, among=among)
    else:
        by_leaf = [count(size) for size in sizes]
        kept, select = sum(by_leaf), functools.partial(topk.largest_per_leaf, ks=by_leaf, among=among)
    if kept < 1:
        raise errors.UsageError(
            f"--sparsity = {hyper.sparsity} sends none of {sum(sizes)} entries; allowed: at least 1"
        )

    def send(received, trained):
        change = trees.sub(trained, received)
        chosen = select(saliency.magnitude(change if hyper.upload == "diff" else trained))
        return masks.apply(chosen, trained if hyper.upload == "weights" else change)

    original = hyper.version == "original"
    local = (_swat_training if original else _overwriting_training)(federation, layers)
    deploy = layers.active if original else identity
    upload = Declared("upload", "exact", lambda t: kept, among)
    step = trees.sub if hyper.upload == "weights" else _the_mean
    if hyper.log_masks:
        consensus.check_overlaps(federation.cohort_size)
    return _federated(federation, layers, local, deploy, send, step, kept, upload, log_masks=hyper.log_masks)


def swat(federation: Federation, hyper: Swat) -> Algorithm:
    """SWAT at the clients of plain federated averaging: ZeroFL that sends everything.

    Deployed are the largest weights of each chosen layer, `server_model` all. Costs: a dense model both ways; FLOPs and
    departures as of `zerofl`. SWAT's own code has its first layer dense and its last one sparse, as the default here.

    References:
        Raihan and Aamodt, Sparse Weight Activation Training (arXiv 2001.01969).
    """
    layers = _layers(federation, hyper)
    local = _swat_training(federation, layers)
    return _federated(
        federation,
        layers,
        local,
        layers.active,
        lambda received, trained: trees.sub(trained, received),
        _the_mean,
    )


def _the_mean(mean: PyTree, params: PyTree) -> PyTree:
    """The server's step where clients send changes."""
    del params
    return mean


def _layers(federation: Federation, hyper: Swat) -> Layers:
    """The layers that are sparse, and how much of them counts."""

    def is_sparse(kind, leaf, needs_input_gradient):
        wide = len(leaf.shape) == 4 and leaf.shape[:2] != (1, 1)
        fits = {"hidden": needs_input_gradient, "convolutions": needs_input_gradient and wide, "all": True}
        return kind == "kernel" and fits[hyper.sparse_layers]

    chosen = jax.tree.map(is_sparse, federation.kinds, federation.params, federation.input_grad)
    if not any(jax.tree.leaves(chosen)):
        raise errors.UsageError(
            f"--sparse-layers = {hyper.sparse_layers!r} is none of this model's layers; allowed here: all"
        )
    share = 1 - schedules.exact(hyper.sparsity)
    counts = [
        math.ceil(share * leaf.size) if yes else leaf.size
        for leaf, yes in zip(jax.tree.leaves(federation.params), jax.tree.leaves(chosen), strict=True)
    ]
    return Layers(chosen, np.array(counts, np.int32), float(share))


def _swat_training(federation: Federation, layers: Layers) -> Callable[..., Trained]:
    """Dense weights, moved by the gradient at their active part."""
    limit = functools.partial(activations.share_threshold, share=layers.share)
    base = make_gradient(activations.with_pruned_activations(federation.loss, layers.names(), limit))

    def at_active(variables, batch):
        return base(variables._replace(params=layers.active(variables.params)), batch)

    def local(variables, client, t, key):
        trained = federation.train(at_active, activations.remember(variables, ()), client, t, key)
        return trained._replace(variables=activations.forget(trained.variables))

    return local


def _overwriting_training(federation: Federation, layers: Layers) -> Callable[..., Trained]:
    """Weights below the threshold of the round's first batch are lost before every step, but not after the last one."""
    limit = functools.partial(activations.share_threshold, share=layers.share)
    gradient = make_gradient(activations.with_pruned_activations(federation.loss, layers.names(), limit))
    shapes = zip(trees.names(federation.params), jax.tree.leaves(federation.params), strict=True)
    cached = [name for name, leaf in shapes if name in layers.names() and len(leaf.shape) == 4]

    def overwriting(params):
        leaves, treedef = jax.tree.flatten(params)
        parts = zip(leaves, layers.counts, treedef.flatten_up_to(layers.chosen), strict=True)
        # Where nothing is sparse there is no threshold: later steps would lose what falls below the smallest weight.
        limits = treedef.unflatten(
            [topk.kth_largest(jnp.abs(leaf), k) if yes and k < leaf.size else 0.0 for leaf, k, yes in parts]
        )

        def project(params):
            return jax.tree.map(lambda w, t: jnp.where(jnp.abs(w) >= t, w, jnp.zeros_like(w)), params, limits)

        return project

    def local(variables, client, t, key):
        project = overwriting(variables.params)
        start = activations.remember(variables._replace(params=project(variables.params)), cached)
        total = federation.plan.total_steps(client.count)
        last = jnp.maximum(total - 1, 0)
        first = federation.train(gradient, start, client, t, key, project, (0, last))
        rest = federation.train(
            gradient, first.variables, client, t, key, identity, (last, total), first.moments
        )
        trained = in_sequence(first, rest)
        return trained._replace(variables=activations.forget(trained.variables))

    return local


def _federated(
    federation: Federation,
    layers: Layers,
    local: Callable[..., Trained],
    deploy: Callable[[PyTree], PyTree],
    send: Callable[[PyTree, PyTree], PyTree],
    step: Callable[[PyTree, PyTree], PyTree],
    kept: int | None = None,
    upload: Declared | None = None,
    *,
    log_masks: bool = False,
) -> Algorithm:
    """`local` training, of which `send(received, trained)` is sent with `kept` entries of the kernels, or all.

    The server steps along `step(mean of what was sent, its own parameters)`.
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    optimizer, live = federation.server_optimizer, jnp.asarray(layers.counts)
    prunable = sum(masks.prunable_sizes(federation.params, among))
    whole = trees.size(federation.params) + federation.stats_size
    message = functools.partial(subset_message, whole, positions=prunable, beside=whole - prunable)
    sent_values = jnp.asarray(prunable if kept is None else kept, jnp.int32)

    def init(variables, key):
        del key
        return Server(variables, optimizer.init(variables.params))

    def work(shared, client_state, client, key):
        server, t = shared
        trained = local(server.variables, client, t, key)
        after = trained.variables
        sent = Variables(send(server.variables.params, after.params), after.stats)
        log = consensus.client_metrics(server.variables, after, sent, among) if upload else {}
        report = Report(trained.loss, training_work(trained, live))
        mask = consensus.bits(masks.nonzero(sent.params, among), among) if log_masks else ()
        return trees.scale(sent, client.weight), client_state, (report, log, mask)

    def round_fn(state, cohort, t, key):
        server = state.server
        total, client_states, (report, log, rows) = federation.over_clients(
            work, (server, t), state.client, cohort, key
        )
        mean = weighted_mean(total, cohort.weight)
        mean = mean._replace(params=step(mean.params, server.variables.params))
        new = Server(*step_along(optimizer, server.variables, server.opt, mean, jnp.any(cohort.present)))
        living = masks.count(masks.nonzero(server.variables.params, among), among)
        up, down = message(sent_values, sent=cohort.present), message(living, sent=cohort.invited)
        if upload:
            log |= consensus.server_metrics(server.variables, new.variables, among)
        if log_masks:
            log["mask_iou_pairs"] = consensus.overlaps(rows)
        return State(new, client_states), Metrics(up, down, report.work, report.loss, log)

    def model(server, client_state):
        del client_state
        return server.variables._replace(params=deploy(server.variables.params))

    most = int(layers.counts[np.array(jax.tree.leaves(among))].sum())
    sparse = deploy is not identity
    deployed = Declared("deployed", *(("bounded", lambda t: most) if sparse else ("measured", None)), among)
    declared = (deployed,) if upload is None else (upload, deployed)
    return Algorithm(init, no_client_state, None, round_fn, model, lambda server: server.variables, declared)
