"""Who is invited to a round and who answers. Stateless: any round can be drawn without the ones before it."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedjax_sparse.errors import UsageError, check_range, unknown_name

PARTICIPATION: dict[str, str] = {
    "uniform": "cohort_size clients, equally likely, without replacement",
    "weighted": "cohort_size clients one after the other, each with probability proportional to its examples",
    "bernoulli": "every client independently with probability cohort_size / clients; empty rounds occur",
    "k-of-n": "as in 7-of-10: n = cohort_size clients are invited uniformly and k of them answer",
}

OVERFLOW = 1e-9  # the probability, in a round, that Bernoulli sampling wants more places than there are
PURPOSE = 0x636F686F7274  # "cohort"; keeps these draws apart from others that start from the same seed

Invite = Callable[[np.random.Generator], np.ndarray]
Answer = Callable[[int, np.random.Generator], np.ndarray]


class Sampler(NamedTuple):
    """Draws cohorts with a fixed number of places.

    Attributes:
        capacity: C, places in a cohort.
        draw: (seed >= 0, round t) -> (ids i32[C], present bool[C]). An id of N marks an empty place. Clients that
            answer come first, then those that do not, then empty places; each group by size, largest first, so that
            clients that are trained side by side have similar numbers of local steps.
        in_order: Whether every cohort is all clients, in the order of their ids.
    """

    capacity: int
    draw: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
    in_order: bool = False


def make(participation: str, *, clients: int, cohort_size: int, sizes: np.ndarray, dropout: float) -> Sampler:
    """The sampler of that name.

    Weighted sampling is successive: the next client is drawn from those not yet invited, with probabilities
    proportional to their examples (Efraimidis and Spirakis, 2006, doi:10.1016/j.ipl.2005.11.003). The chance to be in
    a cohort thus grows less than proportionally with size, as nobody is invited twice.

    Args:
        participation: A key of `PARTICIPATION`; the last one with numbers, as in `7-of-10`.
        clients: N.
        cohort_size: Clients invited to a round, from 1 to N; under `bernoulli` their mean number.
        sizes: i[N], examples of each client.
        dropout: Probability in [0, 1) that an invited client does not answer, independently of all others; 0 with
            `k-of-n`, which says itself how many answer.

    Raises:
        UsageError: An unknown name, or numbers that do not fit together.
    """
    check_range("cohort_size", cohort_size, 1, clients)
    check_range("dropout", dropout, 0, 1, high_open=True)
    sizes = np.asarray(sizes, np.int64)
    capacity, answer, answering = cohort_size, _independently(1 - dropout), cohort_size
    if participation == "uniform":
        invite = _uniform(clients, cohort_size)
    elif participation == "weighted":
        invite = _weighted(sizes, cohort_size)
    elif participation == "bernoulli":
        probability = cohort_size / clients
        capacity = _places(clients, probability)
        invite = _bernoulli(clients, probability, capacity)
    else:
        answering = _parse(participation, cohort_size, dropout)
        invite, answer = _uniform(clients, cohort_size), _exactly(answering)

    def draw(seed: int, t: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((PURPOSE, seed, t))
        invited = invite(rng)
        answered = answer(len(invited), rng)
        order = np.lexsort((invited, -sizes[invited], ~answered))
        ids, present = np.full(capacity, clients, np.int32), np.zeros(capacity, bool)
        ids[: len(invited)], present[: len(invited)] = invited[order], answered[order]
        return ids, present

    everyone = clients == cohort_size == answering and dropout == 0
    return Sampler(capacity, draw, everyone and bool(np.all(np.diff(sizes) <= 0)))


def _uniform(clients: int, number: int) -> Invite:
    return lambda rng: rng.choice(clients, number, replace=False, shuffle=False)


def _weighted(sizes: np.ndarray, number: int) -> Invite:
    """The largest of log size + Gumbel noise come in the order of successive sampling."""
    log_sizes = np.log(sizes)

    def invite(rng: np.random.Generator) -> np.ndarray:
        keys = log_sizes + rng.gumbel(size=len(log_sizes))
        return np.argpartition(-keys, number - 1)[:number]

    return invite


def _bernoulli(clients: int, probability: float, places: int) -> Invite:
    """A binomial number of clients, all subsets of that number equally likely; at most as many as there are places."""

    def invite(rng: np.random.Generator) -> np.ndarray:
        number = min(rng.binomial(clients, probability), places)
        return rng.choice(clients, number, replace=False, shuffle=False)

    return invite


def _places(clients: int, probability: float) -> int:
    """The smallest number that Binomial(N, probability) exceeds with probability at most `OVERFLOW`."""
    if probability == 1:
        return clients
    k = np.arange(1, clients + 1)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log((clients - k + 1) / k))])
    log_odds = np.log(probability) - np.log1p(-probability)
    log_pmf = log_choose + clients * np.log1p(-probability) + np.arange(clients + 1) * log_odds
    at_least = np.cumsum(np.exp(log_pmf[::-1]))[::-1]
    return int(np.flatnonzero(at_least > OVERFLOW)[-1])


def _independently(probability: float) -> Answer:
    return lambda number, rng: rng.random(number) < probability


def _exactly(answering: int) -> Answer:
    return lambda number, rng: rng.permutation(number) < answering


def _parse(participation: str, cohort_size: int, dropout: float) -> int:
    """K of `k-of-n`."""
    numbers = re.fullmatch(r"(\d{1,9})-of-(\d{1,9})", participation)
    if numbers is None and participation not in PARTICIPATION:
        unknown_name("participation", participation, PARTICIPATION)
    k, n = map(int, numbers.groups()) if numbers else (0, 0)
    if not 1 <= k <= n == cohort_size:
        raise UsageError(
            f"participation {participation!r} does not fit; allowed: k-of-{cohort_size} (the cohort size) with k in "
            f"[1, {cohort_size}]"
        )
    if dropout:
        raise UsageError(
            f"dropout = {dropout:g} with participation {participation!r}; allowed: 0, as it says who answers"
        )
    return k
