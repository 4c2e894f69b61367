"""The host's books: from the counts that rounds report to exact totals and rows of metrics.

What a row's means weigh:

    train_loss                        over the examples that the round's clients trained on, each as often as it was
                                      seen; of a text, the mean over its positions
    global_test_*, server_test_*      over the predictions of the test set, see `evaluation.Scores`
    *client_test_accuracy             over clients, each once, whatever it holds
    density, density_prunable         entries alive over all entries, not a mean over layers
    density/KERNEL                    the same of one layer, where the algorithm prunes it
    what an algorithm logs by client  over the clients that trained in the round, each once; what it logs by pair of
                                      clients, over two different ones of them
"""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.costs import prices
from fedjax_sparse.costs.prices import Totals
from fedjax_sparse.simulation import summaries
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.types import Algorithm, Message, Metrics

# Columns that a run without classes, clients' own tests, another server's model or a network does not have, or one that
# began before values were counted.
OPTIONAL = (
    "global_test_accuracy",
    "server_test_accuracy",
    "server_client_test_accuracy",
    "server_density",
    "simulated_seconds",
    "communicated_values",
    "objective",
)
# What round 0, before any training, has in place of what a round reports.
NOBODY_TRAINED = {"train_loss": None, "uplink_density": None, "downlink_density": None, "participants": 0}
DIVERGED = 10_000  # a loss this many times the first one is taken for an infinite one


class Ledger(NamedTuple):
    """What one seed's run has accumulated; part of every checkpoint.

    Attributes:
        totals: Bytes, FLOPs and simulated seconds so far.
        wall_seconds: Time so far; with several seeds, of all of them together.
        first_loss: The first training loss, by which divergence is judged.
        diverged_at: The round whose loss was not finite or `DIVERGED` times the first; None while the seed runs.
        emptied_at: The first evaluated round after which a layer had no weight left; None while all have some.
        emptied: The names of the layers that were empty then.
        tied_at: The first round, 0 for the preparation, whose mask scores did not decide; None while all were decided.
    """

    totals: Totals = Totals()
    wall_seconds: float = 0.0
    first_loss: float | None = None
    diverged_at: int | None = None
    emptied_at: int | None = None
    emptied: str = ""
    tied_at: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {**self._asdict(), "totals": dataclasses.asdict(self.totals)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Ledger":
        """The inverse of `to_dict`."""
        return cls(**{**content, "totals": Totals(**{"values": None, **content["totals"]})})

    def judged(self, t: int, loss: float | None) -> "Ledger":
        """The ledger after round t reported `loss` (None: nobody trained)."""
        if loss is None or self.diverged_at is not None:
            return self
        first = loss if self.first_loss is None else self.first_loss
        if math.isfinite(loss) and abs(loss) <= DIVERGED * max(abs(first), 1e-12):
            return self._replace(first_loss=first)
        return self._replace(diverged_at=t)

    def ranked(self, t: int, metrics: Metrics) -> "Ledger":
        """The ledger after round t; warns the first time that scores tie and the index of an entry decides."""
        if metrics.ranking is None or self.tied_at is not None:
            return self
        ranking = metrics.ranking
        of_those = True if np.ndim(ranking.by_index) == 0 else metrics.work.steps > 0
        worst = np.argmax(np.where(of_those, ranking.by_index, 0))
        by_index, nonzero = np.ravel(ranking.by_index)[worst], np.ravel(ranking.nonzero)[worst]
        if by_index == 0:
            return self
        when = f"in round {t}" if t else "before round 1"
        warnings.warn(
            f"{by_index} of the weights kept {when} are the first by index, not by score: their scores tie with "
            f"others, and {nonzero} scores were not zero",
            stacklevel=2,
        )
        return self._replace(tied_at=t)


class Accountant:
    """Keeps the ledgers of a run.

    All arrays are NumPy, with leading axes for K seeds and, for metrics of rounds, R rounds.
    """

    def __init__(self, algorithm: Algorithm, setting: Setting):
        self._encoding, self._links = setting.encoding, setting.links
        federation, model = setting.federation, setting.model
        self._value_bytes = jax.tree.leaves(federation.params)[0].dtype.itemsize
        self._sizes = trees.sizes(federation.params)
        self._uses = jax.tree.leaves(model.uses)
        self._input_grad = jax.tree.leaves(model.input_grad)
        self._prunable = np.asarray(jax.tree.leaves(prunable(algorithm, setting)), bool)
        self._layers = prunable_kernels(algorithm, setting)

    def open(self, seeds: int, preparation: Metrics | None) -> tuple[Ledger, ...]:
        """The ledgers before round 1, charged with what the algorithm's preparation cost."""
        if preparation is None:
            return (Ledger(),) * seeds
        of_seeds = [at(preparation, k) for k in range(seeds)]
        everyone = np.arange(preparation.up.size.shape[-1])
        return tuple(Ledger(self._cost(metrics, everyone)).ranked(0, metrics) for metrics in of_seeds)

    def charge(
        self,
        ledgers: Sequence[Ledger],
        metrics: Metrics,
        ids: np.ndarray,
        first: int,
        last: int,
        seconds: float,
    ) -> tuple[Ledger, ...]:
        """Adds rounds `first`..`last`; a seed that diverges is charged up to the round in which it did.

        Args:
            ledgers: As they stand.
            metrics: Of the rounds.
            ids: i32[K, R, C], whose they are.
            first: The first round.
            last: The last round.
            seconds: The time that all of them took.
        """

        def one(k: int, ledger: Ledger) -> Ledger:
            ledger = ledger._replace(wall_seconds=ledger.wall_seconds + seconds)
            for t in range(first, last + 1):
                round_metrics = at(metrics, k, t - first)
                if ledger.diverged_at is None:
                    cost = self._cost(round_metrics, ids[k, t - first])
                    ledger = ledger._replace(totals=ledger.totals + cost)
                    ledger = ledger.judged(t, train_loss(round_metrics)).ranked(t, round_metrics)
            return ledger

        return tuple(one(k, ledger) for k, ledger in enumerate(ledgers))

    def first_rows(
        self, ledgers: Sequence[Ledger], assessment: Any, seconds: float
    ) -> tuple[tuple[dict[str, Any], ...], tuple[Ledger, ...]]:
        """The rows of round 0, of models as they start or as a preparation leaves them, and the ledgers afterwards."""
        updated = [ledger._replace(wall_seconds=ledger.wall_seconds + seconds) for ledger in ledgers]
        rows = [self._row(ledger, NOBODY_TRAINED, at(assessment, k), 0) for k, ledger in enumerate(updated)]
        return tuple(rows), tuple(updated)

    def rows(
        self, ledgers: Sequence[Ledger], metrics: Metrics, assessment: Any, first: int, t: int, seconds: float
    ) -> tuple[tuple[dict[str, Any] | None, ...], tuple[Ledger, ...]]:
        """The rows of round t, the last one in `metrics`, and the ledgers after evaluation."""
        rows, updated = [], []
        for k, ledger in enumerate(ledgers):
            ledger = ledger._replace(wall_seconds=ledger.wall_seconds + seconds)
            seen = at(assessment, k)
            model = summaries.as_one_model(seen)
            ledger = ledger.judged(t, float(model.scores.loss))
            if ledger.emptied_at is None and (emptied := self._emptied(model.nonzero)):
                ledger = ledger._replace(emptied_at=t, emptied=", ".join(emptied))
            updated.append(ledger)
            row = self._row(ledger, _of_round(at(metrics, k, t - first)), seen, t)
            rows.append(row if ledger.diverged_at is None else None)
        return tuple(rows), tuple(updated)

    def _emptied(self, nonzero: np.ndarray) -> list[str]:
        """The pruned layers without a weight."""
        return [name for leaf, name in self._layers.items() if nonzero[leaf] == 0]

    def _cost(self, metrics: Metrics, ids: np.ndarray) -> Totals:
        """Of one round, or of a preparation, by the clients i32[C]."""
        up, down = (
            prices.bytes_per_client(message, self._encoding, self._value_bytes)
            for message in (metrics.up, metrics.down)
        )
        sparse, dense = prices.flops_per_client(metrics.work, self._uses, self._input_grad, self._sizes)
        exact = (sum(counts.flat) for counts in (up, down, sparse, dense))
        totals = Totals(*exact, values=sent_values(metrics.up) + sent_values(metrics.down))
        if self._links is None:
            return totals
        done = sparse if self._links.skips_zeros else dense
        return dataclasses.replace(totals, simulated_seconds=self._links.seconds(ids, up, down, done))

    def _row(self, ledger: Ledger, of_round: dict[str, Any], assessment: Any, t: int) -> dict[str, Any]:
        totals = ledger.totals
        model, clients = summaries.as_one_model(assessment), assessment.clients
        own = None if assessment.deployed is None else assessment.server
        row: dict[str, Any] = {
            "round": t,
            "train_loss": of_round["train_loss"],
            "global_test_loss": float(model.scores.loss),
            "global_test_accuracy": _number(model.scores.accuracy),
            **summaries.spread("client_test_accuracy", model.own),
            **summaries.spread("tuned_test_accuracy", clients and clients.tuned),
            **summaries.by_class(model.scores.confusion),
            "objective": _number(model.objective),
            "density": self._density(model.nonzero),
            "density_prunable": self._density(model.nonzero, self._prunable),
            **{
                f"density/{name}": float(model.nonzero[leaf]) / self._sizes[leaf]
                for leaf, name in self._layers.items()
            },
            "server_test_accuracy": None if own is None else _number(own.scores.accuracy),
            "server_client_test_accuracy": summaries.spread("mean", own and own.own).get("mean"),
            "server_density": None if own is None else self._density(own.nonzero),
            "uplink_bytes": totals.uplink_bytes,
            "downlink_bytes": totals.downlink_bytes,
            "communicated_values": totals.values,
            "flops": totals.flops,
            "flops_dense": totals.flops_dense,
            "simulated_seconds": None if self._links is None else totals.simulated_seconds,
            "wall_seconds": round(ledger.wall_seconds, 3),
            **of_round,
        }
        return {name: value for name, value in row.items() if value is not None or name not in OPTIONAL}

    def _density(self, nonzero: np.ndarray, among: np.ndarray | None = None) -> float:
        chosen = np.ones(len(self._sizes), bool) if among is None else among
        kept = sum(float(n) for n, here in zip(nonzero, chosen, strict=True) if here)
        return kept / sum(n for n, here in zip(self._sizes, chosen, strict=True) if here)


def prunable(algorithm: Algorithm, setting: Setting) -> Any:
    """Where sparsity is counted: what the algorithm declares, or else all kernels."""
    for declared in algorithm.declared:
        return declared.prunable
    return jax.tree.map(lambda kind: kind == "kernel", setting.federation.kinds)


def prunable_kernels(algorithm: Algorithm, setting: Setting) -> dict[int, str]:
    """Place and name of each leaf of weights that the algorithm prunes; none where it declares nothing sparse."""
    if not algorithm.declared:
        return {}
    federation = setting.federation
    leaves = zip(
        trees.names(federation.params),
        jax.tree.leaves(federation.kinds),
        jax.tree.leaves(prunable(algorithm, setting)),
        strict=True,
    )
    return {i: name for i, (name, kind, here) in enumerate(leaves) if here and kind == "kernel"}


def train_loss(metrics: Metrics) -> float | None:
    """Mean loss over the examples that a round trained on, each as often as it was seen; None when nobody trained."""
    examples = metrics.work.examples.astype(np.float64)
    if not examples.sum():
        return None
    trained = examples > 0
    return float(np.sum(metrics.loss[trained] * examples[trained]) / examples.sum())


def _of_round(metrics: Metrics) -> dict[str, Any]:
    """The columns that a round itself reports."""
    trained = metrics.work.steps > 0
    return {
        "train_loss": train_loss(metrics),
        "uplink_density": sent_density(metrics.up),
        "downlink_density": sent_density(metrics.down),
        "participants": int(np.sum(trained)),
        **{name: _scalar(value, trained) for name, value in metrics.log.items()},
    }


def sent_density(messages: Message) -> float | None:
    """The fraction of all scalars that sparse messages hold, over all clients; None when nothing was sent."""
    size = int(np.sum(messages.size, dtype=np.int64))
    return sent_values(messages) / size if size else None


def sent_values(messages: Message) -> int:
    """The scalars that sparse messages hold, over all clients."""
    return int(np.sum(messages.values, dtype=np.int64))


def at(tree: Any, *place: int) -> Any:
    """The entries at one place of the leading axes."""
    return jax.tree.map(lambda leaf: leaf[place], tree)


def _number(score: Any) -> float | None:
    """The score; None where it was not asked for, or is NaN since the problem has no classes."""
    return None if score is None or math.isnan(score) else float(score)


def of_pairs(metrics: Metrics) -> dict[str, np.ndarray]:
    """What one round logs by pair of clients, f[C, C] by name; NaN where one of them did not train."""
    trained = metrics.work.steps > 0
    both = trained[:, None] & trained
    return {name: np.where(both, value, np.nan) for name, value in metrics.log.items() if value.ndim == 2}


def _scalar(value: Any, present: Any) -> float | None:
    """A logged scalar, or the mean over the clients that took part or their pairs; None where there is none."""
    if value.ndim == 0:
        return float(value)
    chosen = value[present]
    if value.ndim == 2:
        chosen = chosen[:, present][~np.eye(len(chosen), dtype=bool)]
    return float(chosen.mean()) if chosen.size else None
