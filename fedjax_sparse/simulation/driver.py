"""Drives a compiled run from block to block, and yields where it stands after each."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_sparse.devices import meshes
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.deployment import TrainedModel, trained
from fedjax_sparse.simulation.ledger import Accountant, Ledger, at, of_pairs
from fedjax_sparse.simulation.programs import Program, RunState
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.types import Algorithm


class Progress(NamedTuple):
    """Where a run stands after a block; its state is given up when the next block is asked for.

    Attributes:
        round: Rounds done.
        state: K seeds.
        rows: For each seed the metrics of this round; None between evaluations and once a seed has diverged.
        ledgers: For each seed what it has cost so far and whether it still runs.
        pairs: For each seed what this round has logged by pair of clients, f[C, C] by name; else nothing.
    """

    round: int
    state: RunState
    rows: tuple[dict[str, Any] | None, ...]
    ledgers: tuple[Ledger, ...]
    pairs: tuple[Mapping[str, np.ndarray], ...] = ()


class Resume(NamedTuple):
    """Where a run goes on: rounds done, and each seed's state and ledger."""

    round: int
    state: RunState
    ledgers: tuple[Ledger, ...]


class Simulated(NamedTuple):
    """What came of a simulation, for each seed.

    Attributes:
        rows: Metrics, a row for each evaluated round: 0, before any training, every `eval_every`-th and the last; a
            seed that diverged has none from then on.
        models: As after the last round.
    """

    rows: list[list[dict[str, Any]]]
    models: list[TrainedModel]


def simulate(
    algorithm: Algorithm, setting: Setting, *, seed: int = 0, seeds: int = 1, eval_every: int = 1
) -> Simulated:
    """Runs an algorithm to the end, seeds `seed`..`seed + seeds - 1` as one program."""
    rows: list[list[dict[str, Any]]] = [[] for _ in range(seeds)]
    progress = None
    for progress in run(algorithm, setting, range(seed, seed + seeds), evaluate_at=every(eval_every)):
        for own, row in zip(rows, progress.rows, strict=True):
            own.extend([] if row is None else [row])
    assert progress is not None  # a run has one round at least
    return Simulated(rows, trained(algorithm, setting, progress.state))


def every(period: int) -> Callable[[int], bool]:
    """Holds in rounds that are multiples of `period`."""
    return lambda t: t % period == 0


def run(
    algorithm: Algorithm,
    setting: Setting,
    seeds: Sequence[int],
    *,
    evaluate_at: Callable[[int], bool],
    stop_at: Callable[[int], bool] = lambda t: False,
    resume: Resume | None = None,
    program: Program | None = None,
) -> Iterator[Progress]:
    """Runs block after block, and yields after each, and first where round 0 is evaluated.

    Ends early once every seed has diverged.

    Args:
        algorithm: What to run.
        setting: Where to run it.
        seeds: One run for each, all in one program.
        evaluate_at: Round number -> whether models are evaluated after it, 0 being before the first; after the last
            round they always are.
        stop_at: Further rounds after which a block ends, for example to save the state.
        resume: Where to go on; None starts from the beginning.
        program: As `compile_ahead` gives it; None compiles at the first round.
    """
    program = program or programs.compile_program(algorithm, setting, len(seeds))
    accountant = Accountant(algorithm, setting)
    population, test = jax.device_put((setting.population, setting.test), meshes.everywhere(setting.mesh))
    seed_array = np.asarray(seeds, np.int32)
    last = setting.federation.rounds
    clock = _Clock()
    if resume is None:
        state, metrics = program.begin(population, seed_array)
        ledgers = accountant.open(len(seeds), jax.device_get(metrics))
        t = 0
        if evaluate_at(0):
            assessment = jax.device_get(program.evaluate(state, population, test, t, seed_array))
            rows, ledgers = accountant.first_rows(ledgers, assessment, clock.lap())
            yield Progress(0, state, rows, ledgers, ({},) * len(seeds))
    else:
        t, state, ledgers = resume
        if setting.mesh is not None and setting.state_store == "device":
            placed = RunState(meshes.everywhere(setting.mesh), meshes.by_client(setting.mesh))
            state = jax.device_put(state, placed)
    while t < last and any(ledger.diverged_at is None for ledger in ledgers):
        ends = (n for n in range(t + 1, last) if evaluate_at(n) or stop_at(n))
        first, t = t + 1, min(next(ends, last), t + programs.MAX_BLOCK)
        ids, present = draw_cohorts(setting, seeds, first, t)
        rounds = np.int32(first), np.int32(t - first + 1)
        state, metrics = program.block(state, population, ids, present, *rounds, seed_array)
        metrics = jax.device_get(metrics)
        ledgers = accountant.charge(ledgers, metrics, ids, first, t, clock.lap())
        rows: tuple[dict[str, Any] | None, ...] = (None,) * len(seeds)
        pairs: tuple[Mapping[str, np.ndarray], ...] = ({},) * len(seeds)
        if t == last or evaluate_at(t):
            assessment = jax.device_get(program.evaluate(state, population, test, t, seed_array))
            rows, ledgers = accountant.rows(ledgers, metrics, assessment, first, t, clock.lap())
            pairs = tuple(of_pairs(at(metrics, k, t - first)) for k in range(len(seeds)))
        yield Progress(t, state, rows, ledgers, pairs)


def draw_cohorts(
    setting: Setting, seeds: Sequence[int], first: int, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids i32[K, R, C] and presence bool[K, R, C] of rounds `first`..`last`, R = `MAX_BLOCK`; others are empty.

    Drawn on the host: the cohorts of a seed are the same for every algorithm, chunk, device count and platform.
    """
    shape = (len(seeds), programs.MAX_BLOCK, setting.sampler.capacity)
    ids = np.full(shape, setting.federation.population, np.int32)
    present = np.zeros(shape, bool)
    for k, seed in enumerate(seeds):
        for i, t in enumerate(range(first, last + 1)):
            ids[k, i], present[k, i] = setting.sampler.draw(seed, t)
    return ids, present


class _Clock:
    """Measures the time between laps."""

    def __init__(self):
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed
