"""Runs that differ in numbers alone as one program: an algorithm whose server's state carries its numbers."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.programs import Program
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.types import Algorithm, Cohort, Metrics, PyTree, State, Variables

Numbers = Mapping[str, jax.Array | np.ndarray]
Make = Callable[[Numbers], Algorithm]
Function = TypeVar("Function", bound=Callable)


class Carried(NamedTuple):
    """The state of a server, and the numbers f[] that its algorithm is built from, by name."""

    numbers: Numbers
    state: PyTree


def carrying(make: Make, numbers: Numbers) -> Algorithm:
    """The algorithm that finds its numbers in the server's state, and is built from them wherever it is called.

    Two runs of it are one program, whatever their numbers are: these enter where states begin, and nowhere else.

    Args:
        make: Builds the algorithm; given traced numbers, it raises a `TypeError` where they decide what is computed.
        numbers: Those with which states begin.
    """
    usual = make(numbers)

    def then(
        state: State, step: Callable[[Algorithm, State], tuple[State, Metrics]]
    ) -> tuple[State, Metrics]:
        own = state.server.numbers
        new, metrics = step(make(own), State(state.server.state, state.client))
        return State(Carried(own, new.server), new.client), metrics

    def prepare(state: State, cohort: Cohort, key: jax.Array) -> tuple[State, Metrics]:
        return then(state, lambda algorithm, own: _there(algorithm.prepare)(own, cohort, key))

    def round(state: State, cohort: Cohort, t: jax.Array, key: jax.Array) -> tuple[State, Metrics]:
        return then(state, lambda algorithm, own: algorithm.round(own, cohort, t, key))

    def server_model(server: Carried) -> Variables:
        return _there(make(server.numbers).server_model)(server.state)

    return usual._replace(
        init=lambda variables, key: Carried(numbers, usual.init(variables, key)),
        prepare=usual.prepare and prepare,
        round=round,
        model=lambda server, client: make(server.numbers).model(server.state, client),
        server_model=usual.server_model and server_model,
    )


def _there(function: Function | None) -> Function:
    assert function is not None  # whether an algorithm has it does not depend on numbers
    return function


class Together(NamedTuple):
    """Runs as one program, and the algorithm whose states it has."""

    algorithm: Algorithm
    program: Program


def compile_together(make: Make, setting: Setting, numbers: Mapping[str, np.ndarray], runs: int) -> Together:
    """One program for runs that differ in numbers alone, side by side or one after another as those of several seeds.

    It is traced here, and compiled when it is first called.

    Args:
        make: As of `carrying`.
        setting: Where they run; client states lie on the device.
        numbers: f[runs] by name; there may be none.
        runs: How many.

    Raises:
        TypeError, IndexError: The numbers decide what is computed.
    """
    algorithm = carrying(make, {name: values[0] for name, values in numbers.items()})
    start = programs.start_by_numbers(functools.partial(carrying, make), setting, runs)
    program = programs.compile_program(algorithm, setting, runs)
    own = dict(numbers)
    # Traced here; the same traces are compiled when the functions are first called.
    seeds = jax.ShapeDtypeStruct((runs,), np.int32)
    places = (runs, programs.MAX_BLOCK, setting.sampler.capacity)
    ids, present = (jax.ShapeDtypeStruct(places, kind) for kind in (np.int32, np.bool_))
    state = start.eval_shape(setting.population, seeds, own)[0]
    program.dispatch.eval_shape(state, setting.population, ids, present, np.int32(1), np.int32(1), seeds)
    program.assess.eval_shape(state, setting.test)
    begin = functools.partial(_given, start, own)
    return Together(algorithm, program._replace(start=begin))


def _given(start: Callable, numbers: Numbers, population: Any, seeds: Any) -> Any:
    return start(population, seeds, numbers)
