"""Who holds which examples. Each rule maps labels to one array of rows per client, seeded by its own seed alone.

Every rule returns N disjoint, non-empty arrays of ascending rows. All of them cover the M examples, except `natural`
with fewer clients than owners.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable

import numpy as np

from fedjax_sparse.errors import UsageError, check_range

MAX_ALPHA = (
    1e9  # beyond this NumPy's Dirichlet draws are uniform in every digit that matters, and soon overflow
)


def iid(labels: np.ndarray, clients: int, seed: int) -> list[np.ndarray]:
    """A random deal; sizes differ by at most one.

    Args:
        labels: [M, ...]; only M matters.
        clients: N, at most M.
        seed: Of the deal.
    """
    examples = _examples(labels, clients)
    owner = np.empty(examples, np.int64)
    owner[np.random.default_rng(seed).permutation(examples)] = np.arange(examples) % clients
    return _by_owner(owner, clients)


def consecutive(labels: np.ndarray, clients: int, seed: int) -> list[np.ndarray]:
    """Runs of neighbours in the order of the data set; sizes differ by at most one.

    Args:
        labels: [M, ...]; only M matters.
        clients: N, at most M.
        seed: Not used: nothing is random.
    """
    del seed
    return np.array_split(np.arange(_examples(labels, clients)), clients)


def power_law(labels: np.ndarray, clients: int, seed: int, *, alpha: float) -> list[np.ndarray]:
    """A random deal in which client i (from 1) gets a share proportional to i**-alpha: uneven sizes, iid labels.

    Everyone gets one example, the rest goes by shares with largest remainders. A larger alpha is more uneven.

    Args:
        labels: [M, ...]; only M matters.
        clients: N, at most M.
        seed: Of the deal.
        alpha: Exponent, > 0.
    """
    examples = _examples(labels, clients)
    check_range("alpha", alpha, 0, MAX_ALPHA, low_open=True)
    share = np.arange(1, clients + 1, dtype=np.float64) ** -alpha
    wanted = share / share.sum() * (examples - clients)
    sizes = 1 + wanted.astype(np.int64)
    by_remainder = np.argsort(np.floor(wanted) - wanted, kind="stable")
    sizes[by_remainder[: examples - sizes.sum()]] += 1
    owner = np.empty(examples, np.int64)
    owner[np.random.default_rng(seed).permutation(examples)] = np.repeat(np.arange(clients), sizes)
    return _by_owner(owner, clients)


def dirichlet(
    labels: np.ndarray, clients: int, seed: int, *, alpha: float, min_size: int = 1, draws: int = 200
) -> list[np.ndarray]:
    """Each class is spread over the clients by its own draw from a symmetric Dirichlet(alpha); sizes vary.

    Large alpha: every class evenly over all clients. Small alpha: every class with one client. The whole draw is
    repeated until no client has fewer than `min_size` examples.

    Args:
        labels: int[M].
        clients: N, at most M.
        seed: Of all draws.
        alpha: Concentration, > 0.
        min_size: Fewest examples a client may have, at least 1.
        draws: How often to try.

    Raises:
        UsageError: No draw gave every client `min_size` examples.

    References:
        Yurochkin et al., Bayesian Nonparametric Federated Learning of Neural Networks, arXiv:1905.12022. (Their code,
        and others after it, also stops feeding clients that have their share, which this rule does not.)
    """
    class_of, number = _classes("dirichlet", labels, clients)
    check_range("alpha", alpha, 0, MAX_ALPHA, low_open=True)
    rng = np.random.default_rng(seed)
    class_sizes = np.bincount(class_of)
    for _ in range(draws):
        shares = rng.dirichlet(np.full(clients, alpha), size=number)
        cuts = np.rint(np.cumsum(shares, axis=1) * class_sizes[:, None]).astype(np.int64)
        cuts[:, -1] = class_sizes
        counts = np.diff(cuts, axis=1, prepend=0).T
        if counts.sum(axis=1).min() >= min_size:
            return _deal(class_of, counts, rng)
    raise UsageError(
        f"partition 'dirichlet' with alpha = {alpha:g}, {clients} clients and {len(labels)} examples left a client "
        f"with fewer than {min_size} in each of {draws} draws; allowed: a larger alpha, fewer clients, or "
        "'dirichlet-by-class'"
    )


def dirichlet_by_class(labels: np.ndarray, clients: int, seed: int, *, alpha: float) -> list[np.ndarray]:
    """Each client mixes the classes by its own draw from a symmetric Dirichlet(alpha); sizes differ by at most one.

    A client draws its examples one by one without replacement: a class from its mixture, then an example of that
    class. Classes that have run out drop from the mixture, which is renormalised; clients take turns in random order,
    so the last ones hold what is left. Large alpha: every client like the whole. Small alpha: one class per client
    (as far as the classes last).

    Args:
        labels: int[M].
        clients: N, at most M.
        seed: Of all draws.
        alpha: Concentration per class, > 0.

    References:
        Hsu, Qi and Brown, Measuring the Effects of Non-Identical Data Distribution for Federated Visual
        Classification, arXiv:1909.06335 (with a uniform prior over the classes).
    """

    def one_after_another(sizes, rng):
        order = rng.permutation(clients)
        return zip(order, sizes[order], strict=True)

    return _by_mixture("dirichlet-by-class", labels, clients, seed, alpha, one_after_another)


def dirichlet_by_turns(labels: np.ndarray, clients: int, seed: int, *, alpha: float) -> list[np.ndarray]:
    """As `dirichlet_by_class`, but clients draw one example at a time, in random order.

    So all of them feel that a class has run out, not the last ones alone, and for a small alpha clients are less unlike
    each other. The arguments are the same.

    References:
        The Dirichlet split in the official code of SalientGrads (arXiv 2304.07488) and, before it, DisPFL.
    """

    def in_turns(sizes, rng):
        return ((client, 1) for client in rng.permutation(np.repeat(np.arange(clients), sizes)))

    return _by_mixture("dirichlet-by-turns", labels, clients, seed, alpha, in_turns)


def _by_mixture(
    name: str,
    labels: np.ndarray,
    clients: int,
    seed: int,
    alpha: float,
    turns: Callable[[np.ndarray, np.random.Generator], Iterable[tuple[int, int]]],
) -> list[np.ndarray]:
    """Equal sizes, each client's own mixture of classes.

    Args:
        name: Of the partition, for messages.
        labels: int[M].
        clients: N.
        seed: Of all draws.
        alpha: Concentration of the mixtures.
        turns: (sizes i64[N], generator) -> who draws next, and how many examples.
    """
    class_of, number = _classes(name, labels, clients)
    check_range("alpha", alpha, 0, MAX_ALPHA, low_open=True)
    rng = np.random.default_rng(seed)
    left = np.bincount(class_of)
    sizes = np.diff(np.arange(clients + 1) * len(labels) // clients)
    mixtures = rng.dirichlet(np.full(number, alpha), size=clients)
    counts = np.zeros((clients, number), np.int64)
    for client, size in turns(sizes, rng):
        drawn = _draw_without_replacement(mixtures[client], int(size), left, alpha, rng)
        counts[client] += drawn
        left -= drawn
    return _deal(class_of, counts, rng)


def shards(labels: np.ndarray, clients: int, seed: int, *, classes_per_client: int) -> list[np.ndarray]:
    """Sorted by label and cut into N * k equal shards, of which every client gets k at random.

    A shard may straddle two classes, and a client may get two shards of one class: k is a number of shards.

    Args:
        labels: int[M].
        clients: N; N * k is at most M.
        seed: Of the order within a class and of who gets which shards.
        classes_per_client: k, shards per client, at least 1.

    References:
        McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, arXiv:1602.05629.
    """
    class_of, _ = _classes("shards", labels, clients)
    examples, number = len(labels), clients * classes_per_client
    check_range("classes_per_client", classes_per_client, 1, examples // clients)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(examples)
    by_label = shuffled[np.argsort(class_of[shuffled], kind="stable")]
    shard_owner = rng.permutation(np.repeat(np.arange(clients), classes_per_client))
    owner = np.empty(examples, np.int64)
    owner[by_label] = shard_owner[np.arange(examples) * number // examples]
    return _by_owner(owner, clients)


def classes(labels: np.ndarray, clients: int, seed: int, *, classes_per_client: int) -> list[np.ndarray]:
    """Exactly k classes per client, in chunks of one class each and of sizes as equal as the classes allow.

    The classes are cut into N * k chunks; each client in turn takes one chunk of each of the k classes with the most
    chunks left, which always works out. With equally large classes, and k a divisor of their number, clients form
    blocks that share k classes (ten classes, k = 2: the pairs 0-1, 2-3, ...), as FedSparsify's Non-IID(k) does.

    Args:
        labels: int[M].
        clients: N; N * k is at least the number of classes.
        seed: Of who gets which examples of a class; who gets which classes is not random.
        classes_per_client: k, from 1 to the number of classes.

    References:
        Stripelis et al., Federated Progressive Sparsification (Purge, Merge, Tune)+, arXiv:2204.12430.
    """
    class_of, number = _classes("classes", labels, clients)
    check_range("classes_per_client", classes_per_client, 1, number)
    left = _chunks_per_class(np.bincount(class_of), clients, classes_per_client)
    holds = np.zeros((clients, number), bool)
    for client in range(clients):
        chosen = np.argsort(-left, kind="stable")[:classes_per_client]
        holds[client, chosen] = True
        left[chosen] -= 1
    owner = np.empty(len(labels), np.int64)
    rng = np.random.default_rng(seed)
    for each in range(number):
        rows = rng.permutation(np.flatnonzero(class_of == each))
        holders = np.flatnonzero(holds[:, each])
        owner[rows] = holders[np.arange(len(rows)) % len(holders)]
    return _by_owner(owner, clients)


def natural(
    labels: np.ndarray, clients: int, seed: int, *, client_train: np.ndarray | None
) -> list[np.ndarray]:
    """Each client is one of the data set's own users, in the order of their ids.

    With fewer clients than owners, that many owners are drawn at random without replacement, and the examples of the
    others are left out.

    Args:
        labels: [M, ...]; only M matters.
        clients: N, at most the number of owners.
        seed: Of the choice among the owners.
        client_train: int[M], the owner of each example; None where the data set has none.
    """
    examples = _examples(labels, clients)
    if client_train is None:
        raise UsageError(
            "partition 'natural' needs a data set that names the owner of each example (client_train)"
        )
    if client_train.shape != (examples,):
        raise UsageError(
            f"client_train has shape {client_train.shape}; allowed: ({examples},), as many as labels"
        )
    ids, owner = np.unique(client_train, return_inverse=True)
    if clients > len(ids):
        raise UsageError(f"clients = {clients} is more than the data set's owners; allowed: [1, {len(ids)}]")
    chosen = np.random.default_rng(seed).choice(len(ids), clients, replace=False, shuffle=False)
    number = np.full(len(ids), -1)
    number[np.sort(chosen)] = np.arange(clients)
    return _by_owner(number[owner], clients)


def one_class_each(labels: np.ndarray) -> bool:
    """Whether the targets are one integer label for each example."""
    return labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)


def _examples(labels: np.ndarray, clients: int) -> int:
    """M, once it is clear that every client can have an example."""
    if not 1 <= clients <= len(labels):
        raise UsageError(
            f"clients = {clients} is out of range; allowed: [1, {len(labels)}], the number of examples"
        )
    return len(labels)


def _classes(name: str, labels: np.ndarray, clients: int) -> tuple[np.ndarray, int]:
    """Class of each example, numbered without gaps (i64[M]), and how many classes occur."""
    _examples(labels, clients)
    if not one_class_each(labels):
        by_label = ("consecutive", "iid", "natural", "power-law")
        raise UsageError(
            f"partition {name!r} needs one integer label per example, and these targets are "
            f"{labels.dtype}{list(labels.shape)}; allowed here: {', '.join(by_label)}"
        )
    present, class_of = np.unique(labels, return_inverse=True)
    return class_of, len(present)


def _by_owner(owner: np.ndarray, clients: int) -> list[np.ndarray]:
    """Ascending rows of each client, from the owner of each row (-1 for nobody)."""
    order = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[order], np.arange(clients + 1))
    return [order[first:last] for first, last in itertools.pairwise(ends)]


def _deal(class_of: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Random rows, counts[client, class] of each class to each client; column sums are the class sizes."""
    clients, number = counts.shape
    owner = np.empty(len(class_of), np.int64)
    for each in range(number):
        rows = np.flatnonzero(class_of == each)
        owner[rng.permutation(rows)] = np.repeat(np.arange(clients), counts[:, each])
    return _by_owner(owner, clients)


def _draw_without_replacement(
    mixture: np.ndarray, size: int, left: np.ndarray, alpha: float, rng: np.random.Generator
) -> np.ndarray:
    """How many of each class come up in `size` draws from `mixture`, of which class c can come up left[c] times.

    Draws of a class that has run out do not count and are drawn again, a batch at a time: the same distribution as
    one draw at a time. Every batch but the last empties a class, so there are at most as many as classes.
    """
    taken = np.zeros_like(left)
    while missing := size - taken.sum():
        weight = np.where(left > taken, mixture, 0.0)
        if not weight.any():
            # A small alpha rounds shares to 0. What they were relative to each other is again Dirichlet(alpha).
            remaining = left > taken
            weight[remaining] = rng.dirichlet(np.full(remaining.sum(), alpha))
        taken = np.minimum(taken + rng.multinomial(missing, weight / weight.sum()), left)
    return taken


def _chunks_per_class(class_sizes: np.ndarray, clients: int, per_client: int) -> np.ndarray:
    """i64[K], summing to N * k: the class with the largest chunks is cut further, into at most N, while it can."""
    missing = clients * per_client - len(class_sizes)
    if missing < 0:
        raise UsageError(
            f"{clients} clients with classes_per_client = {per_client} cannot hold all {len(class_sizes)} classes; "
            f"allowed: classes_per_client >= {-(-len(class_sizes) // clients)}"
        )
    chunks = np.ones_like(class_sizes)
    most = np.minimum(class_sizes, clients)
    heap = [(-float(size), each) for each, size in enumerate(class_sizes) if most[each] > 1]
    heapq.heapify(heap)
    for _ in range(missing):
        if not heap:
            raise UsageError(
                f"the classes are too small for {clients} clients with classes_per_client = {per_client} each; "
                f"allowed: classes_per_client * clients <= {most.sum()}"
            )
        _, each = heapq.heappop(heap)
        chunks[each] += 1
        if chunks[each] < most[each]:
            heapq.heappush(heap, (-class_sizes[each] / chunks[each], each))
    return chunks
