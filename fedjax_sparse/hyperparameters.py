"""The hyper-parameters of every algorithm, one frozen dataclass each. No JAX here: `--help` reads this file.

Values are checked when a dataclass is made. Where an algorithm has a paper, `paper` states what it used.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from fedjax_sparse import errors
from fedjax_sparse.options import AT_LEAST_ONE, NOT_NEGATIVE, SPARSITY, Options, Range, option

PERCENT_KEPT = Range(low=0, high=100, low_open=True)
PERCENTILE = Range(low=0, high=100)


@dataclass(frozen=True)
class Hyperparameters(Options):
    """Base class of every algorithm's hyper-parameters."""


@dataclass(frozen=True)
class FedAvg(Hyperparameters):
    """FedAvg has none of its own."""


@dataclass(frozen=True)
class Pruning(Hyperparameters):
    """What may be pruned, and the official code's ways of doing it."""

    sparsity: float = option(
        0.9, "fraction of zeros after the last round", allowed=SPARSITY, paper="0.8, 0.85, 0.9, 0.95, 0.99"
    )
    scope: Literal["all", "kernels"] = option(
        "all", "what may be pruned: all trainable scalars, or kernels only", paper="all"
    )
    layerwise: bool = option(False, "prune every leaf to the sparsity, not all leaves together", paper="no")
    keep_ties: bool = option(False, "keep every entry as large as the smallest one kept (official code)")
    mask_from_values: bool = option(
        False, "a weight that is zero after a round is pruned, biases too (official code)"
    )
    keep_momentum: bool = option(
        False, "clients keep their momentum from round to round (official code)", paper="yes"
    )


@dataclass(frozen=True)
class GradualPruning(Pruning):
    """Gradual pruning: sparsity grows from round to round along a polynomial."""

    initial_sparsity: float = option(0.0, "fraction of zeros at the start", allowed=SPARSITY, paper="0")
    exponent: int = option(
        3, "exponent of the schedule; 1 is linear, more prunes earlier", allowed=AT_LEAST_ONE, paper="3"
    )
    frequency: int = option(1, "rounds between two prunings", allowed=AT_LEAST_ONE, paper="1")
    start_round: int = option(1, "pruning starts after this round", allowed=NOT_NEGATIVE, paper="1")


@dataclass(frozen=True)
class FedSparsifyGlobal(GradualPruning):
    """FedSparsify-Global: the smallest magnitudes of the aggregated model are pruned."""


@dataclass(frozen=True)
class FedSparsifyLocal(GradualPruning):
    """FedSparsify-Local: clients prune what they have trained, and vote."""

    vote_threshold: Literal["ceil", "floor"] = option(
        "ceil", "votes that keep an entry: half of the voters rounded up, or down (official code)"
    )
    mean_over: Literal["all", "voters"] = option(
        "all", "an entry's mean over all clients, zeros counted, or over those that voted for it", paper="all"
    )
    fine_tuning_epochs: int = option(
        0, "further local epochs under the client's own mask", allowed=NOT_NEGATIVE, paper="0"
    )


@dataclass(frozen=True)
class OneShotPruning(Pruning):
    """One-shot pruning of the server's model."""

    prune_round: int | None = option(
        None,
        "the round after which everything is pruned; by default 10 before the last, or the first",
        allowed=AT_LEAST_ONE,
        paper="T - 10",
    )


@dataclass(frozen=True)
class RandomPruning(GradualPruning):
    """Random pruning: the same schedule along one random order of all entries, drawn at the start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_ties:
            raise errors.UsageError(
                "--keep-ties is not valid with random-pruning, whose order has no ties; allowed: false"
            )


@dataclass(frozen=True)
class SalientGrads(Hyperparameters):
    """SalientGrads: one mask from the saliencies of all clients, found before training."""

    sparsity: float = option(
        0.5, "fraction of zeros of the mask", allowed=SPARSITY, paper="0.5, 0.7, 0.8, 0.9, 0.95"
    )
    saliency_batches: int = option(
        1,
        "minibatches on which each client scores the weights, I",
        allowed=AT_LEAST_ONE,
        paper="1, 20, 50, 100",
    )
    saliency_weighting: Literal["uniform", "examples"] = option(
        "uniform", "how much a client's scores count", paper="uniform"
    )
    saliency_loss: Literal["cross-entropy", "logit"] = option(
        "cross-entropy", "the model's loss, or minus the mean logit of the true class (official code)"
    )
    saliency_mode: Literal["train", "eval"] = option(
        "train", "whether dropout and batch statistics are on or off when clients score the weights"
    )
    allocation: Literal["global", "erk"] = option(
        "global", "all layers in one ranking, or a share for each layer", paper="global"
    )
    upload: Literal["weights", "updates"] = option(
        "weights", "what is counted as sent: living weights, or those that changed, with positions"
    )
    clip_living: bool = option(
        False, "clip the norm of the masked gradient, not of the whole (SSFL)", paper="no"
    )
    dense_start: bool = option(False, "round 1 starts from dense weights (official code)")
    keep_ties: bool = option(False, "keep every entry as large as the smallest one kept (official code)")


@dataclass(frozen=True)
class SSFL(SalientGrads):
    """SSFL: SalientGrads as its authors have it later."""

    saliency_weighting: Literal["uniform", "examples"] = option(
        "examples", "how much a client's scores count", paper="examples"
    )
    saliency_mode: Literal["train", "eval"] = option(
        "eval",
        "whether dropout and batch statistics are on or off when clients score the weights",
        paper="eval",
    )
    clip_living: bool = option(True, "clip the norm of the masked gradient, not of the whole", paper="yes")
    keep_ties: bool = option(True, "keep every entry as large as the smallest one kept", paper="yes")


@dataclass(frozen=True)
class OneClientSaliency(Hyperparameters):
    """SNIP and GraSP: one mask from one client's first batch, found before training."""

    sparsity: float = option(
        0.9, "fraction of zeros of the mask", allowed=SPARSITY, paper="0.8, 0.85, 0.9, 0.95, 0.99"
    )
    scope: Literal["kernels", "no-norms", "all"] = option(
        "kernels",
        "what may be pruned: kernels, everything but norms (official code of SNIP), or all (of GraSP)",
    )
    keep_ties: bool = option(False, "keep every entry as large as the smallest one kept (official code)")
    mask_from_values: bool = option(
        False, "what is zero at the start stays zero: biases, shifts of norms (official code)"
    )


@dataclass(frozen=True)
class FedProx(Hyperparameters):
    """FedProx: FedAvg with a proximal term in local training."""

    mu: float = option(
        0.01, "strength of mu/2 ||w - W||^2", allowed=NOT_NEGATIVE, paper="0.001, 0.01, 0.1, 1"
    )


@dataclass(frozen=True)
class ErrorFeedback(Hyperparameters):
    """Top-K of each tensor with error feedback.

    In percent kept, as these papers have it: at 0.0001 % the sparsity, 0.999999, would be hard to read and to type.
    """

    keep_percent: float = option(
        1.0,
        "percent of each tensor's entries that is sent",
        allowed=PERCENT_KEPT,
        paper="0.1, 0.01, 0.001, 0.0001",
    )
    count_rule: Literal["exact", "plus-one"] = option(
        "exact",
        "entries sent of each tensor: max(1, round(size R / 100)), or round(size R / 100) + 1 (official code)",
    )


@dataclass(frozen=True)
class Flare(ErrorFeedback):
    """FLARE: the residuals steer local training."""

    tau: float = option(
        0.05, "strength of the pull towards model plus residual", allowed=NOT_NEGATIVE, paper="0.5, 0.05"
    )
    decay: float = option(
        1.01,
        "the strength is divided by this in every round",
        allowed=AT_LEAST_ONE,
        paper="1.05, 1.1, 1.01, 1.005, 1.001",
    )
    first_steps: int | Literal["all"] = option(
        1, "local steps of a round, from its first, that are pulled", allowed=NOT_NEGATIVE, paper="1, 5, all"
    )
    percentile: float = option(
        50.0,
        "entries whose residual is larger than this percentile are pulled",
        allowed=PERCENTILE,
        paper="50",
    )
    norm: Literal["l1", "l2"] = option("l1", "norm of the pull", paper="l1")
    restart_momentum: bool = option(
        False, "momentum starts anew after the steps that are pulled (official code)"
    )


@dataclass(frozen=True)
class EF21(ErrorFeedback):
    """EF21: what is sent is the change of each client's state."""

    state_mean: Literal["all", "cohort"] = option(
        "all", "the model steps along the mean state of all clients, or of the cohort (FLARE's official code)"
    )


@dataclass(frozen=True)
class FedProxErrorCorrection(ErrorFeedback):
    """FedProx with error correction."""

    mu: float = option(0.01, "strength of mu/2 ||w - W||^2 in round 0", allowed=NOT_NEGATIVE, paper="1, 0.1")
    decay: float = option(
        1.0, "the strength is divided by this in every round", allowed=AT_LEAST_ONE, paper="1.05, 1.1, 1.01"
    )


@dataclass(frozen=True)
class FFL(ErrorFeedback):
    """FFL: percent and local work follow the loss."""

    loss: Literal["training", "test"] = option(
        "training", "that of the cohort's training, or the model's on the test set (FLARE's official code)"
    )


@dataclass(frozen=True)
class TopK(Hyperparameters):
    """TopK of a model: its weights of largest magnitude are kept."""

    sparsity: float = option(0.9, "fraction of zeros after TopK", allowed=SPARSITY)
    scope: Literal["all", "kernels"] = option(
        "kernels", "what may be pruned: kernels only, or all trainable scalars"
    )
    layerwise: bool = option(False, "prune every leaf to the sparsity, not all leaves together")


@dataclass(frozen=True)
class Scaffnew(Hyperparameters):
    """Scaffnew: a coin decides after every local step whether clients communicate.

    That sets a round's local steps: `--local-epochs` and `--local-steps` are not used.
    """

    probability: float = option(
        0.1,
        "chance p that a local step communicates: a round has 1/p local steps on average",
        allowed=Range(low=0, high=1, low_open=True),
        paper="1 / sqrt(condition number)",
    )
    coin: Literal["bernoulli", "fixed"] = option(
        "bernoulli",
        "a round ends when a coin shared by all clients says so, or always after 1/p steps",
        paper="bernoulli",
    )


@dataclass(frozen=True)
class TopKScaffnew(TopK, Scaffnew):
    """Scaffnew with TopK somewhere."""


@dataclass(frozen=True)
class SparseProxSkip(TopKScaffnew):
    """Sparse-ProxSkip and Sparse-ProxSkip-Local."""

    variant: Literal["v1", "v2"] = option(
        "v1", "the paper's version: v2 takes local gradients at the pruned model (straight-through)"
    )


@dataclass(frozen=True)
class RandProx(Scaffnew):
    """Scaffnew for a convex problem with an l1 term."""

    l1: float = option(0.003, "lambda, the weight of the l1 norm in the objective", allowed=NOT_NEGATIVE)
    scope: Literal["all", "kernels"] = option(
        "kernels", "what the l1 norm covers: kernels only, or all trainable scalars"
    )


@dataclass(frozen=True)
class PrunedUploads(Hyperparameters):
    """Clients send their largest weights, chosen among all kernels together."""

    sparsity: float = option(
        0.95,
        "fraction of zeros among the kernels that a client sends",
        allowed=SPARSITY,
        paper="0.9, 0.95, 0.99, 0.995, 0.999",
    )
    log_masks: bool = option(
        False, "log how far the masks of a cohort's clients agree; for at most 32 clients", paper="yes"
    )


@dataclass(frozen=True)
class TopKWeights(PrunedUploads):
    """Top-K weights: dense local training between the prunings."""


@dataclass(frozen=True)
class FixedMask(PrunedUploads):
    """Fixed mask: local training moves only what was received as non-zero."""

    freeze_zeros: bool = option(
        False, "official code: also biases and norm shifts that are zero are never trained"
    )


@dataclass(frozen=True)
class SparsyFed(PrunedUploads):
    """SparsyFed: Powerpropagation and activation pruning in local training."""

    beta: float | Literal["spectral"] = option(
        1.25,
        "exponent of the parameters, or one for each kernel by its spectral norm",
        allowed=AT_LEAST_ONE,
        paper="1.25, spectral",
    )
    activation_pruning: bool = option(
        True, "kernels learn from the largest inputs of their layers only", paper="yes, no"
    )
    activation_floor: float = option(
        1e-7,
        "fraction of a layer's inputs kept at least",
        allowed=Range(low=0, high=1, low_open=True),
        paper="1e-7 (code), 0.01 (at submission)",
    )
    tiers: str | None = option(
        None,
        "sparsity by client id, such as 40:0.9,70:0.95,100:0.99 for ids below 40, 70 and 100",
        paper="three tiers of 40, 30 and 30 clients",
    )
    skip_downsample: bool = option(
        False, "official code: 1x1 convolutions keep plain parameters and all activations"
    )
    cached_thresholds: bool = option(
        False, "official code: convolutions keep the activation threshold of a round's first batch"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.tier_table  # malformed tiers are refused here

    @property
    def tier_table(self) -> tuple[tuple[int, float], ...]:
        """(first id beyond the tier, sparsity), ids ascending; empty where all clients have the same sparsity."""
        if self.tiers is None:
            return ()
        try:
            pairs = [tier.split(":") for tier in self.tiers.split(",")]
            table = tuple((int(bound), float(sparsity)) for bound, sparsity in pairs)
        except ValueError:
            raise errors.UsageError(
                f"--tiers = {self.tiers!r} is not valid; allowed: id:sparsity,... such as 40:0.9,100:0.95"
            ) from None
        bounds = [0, *(bound for bound, _ in table)]
        if any(low >= high for low, high in itertools.pairwise(bounds)):
            raise errors.UsageError(
                f"--tiers = {self.tiers!r} is not valid; allowed: positive ids in ascending order"
            )
        for _, sparsity in table:
            errors.check_range("sparsity in --tiers", sparsity, **SPARSITY._asdict())
        return table
