"""Exact top-k of this package against `lax.top_k`, `jnp.sort` and NumPy's `partition`, by number of entries.

    python -m benchmarks.selection [--sizes 100000 1000000 10000000 40000000]

float32 magnitudes of normal numbers, k = 5 % and, at the largest size, also k = 45, FLARE's at a millionth. Each is
timed inside a loop, where the simulator selects (rounds, clients and local steps are loops of one program, here of at
least ten selections), and alone, as one call from Python: XLA's CPU compiler has a fast `top_k` that it uses outside of
loops only. They do not give the same: ours a mask, `lax.top_k` values and indices, `sort` and `partition` the values in
order or beside the k-th. All meet the same input in turns; from 2e7 entries on, `lax.top_k` for a large k and `sort`,
which then take half a minute, are timed once, and `sort` only alone. About ten minutes on two cores.

Target: at least five times faster than `lax.top_k`.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import timing
from fedjax_sparse.devices import platforms
from fedjax_sparse.simulation import programs
from fedjax_sparse.sparsity import topk

SIZES = (100_000, 1_000_000, 10_000_000, 40_000_000)
SHARE, FEW = 0.05, 45
SLOW_FROM = 20_000_000  # entries
IN_ONE_CALL = 2_000_000  # entries to select from, in total, in one timed call of a loop
AT_LEAST = programs.MAX_BLOCK  # selections in it: a program's memory is new, and slow, in every call

Select = Callable[[jax.Array, jax.Array], jax.Array]  # scores and a traced k, which only ours can use


def methods(k: int) -> dict[str, Select]:
    """What is compared."""
    return {
        "ours": topk.largest,
        "lax.top_k": lambda x, _: lax.top_k(x, k)[0],
        "jnp.sort": lambda x, _: jnp.sort(x),
    }


def in_a_loop(select: Select) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Selects many times over, each time from scores that depend on what was selected before."""

    def selections(x, k, times):
        def once(_, before):
            return jnp.sum(select(x + before, k)) * 1e-20

        return lax.fori_loop(0, times, once, jnp.float32(0))

    return selections


def compare(size: int, k: int, looped: bool, repeats: int) -> dict[str, Any]:
    """A row: milliseconds of each for one selection."""
    x = jnp.abs(jax.random.normal(jax.random.key(size), (size,)))
    times = max(AT_LEAST, IN_ONE_CALL // size) if looped else 1
    slow, options = size >= SLOW_FROM, dict(platforms.current().compiler_options)
    host = np.array(x)
    runs: dict[str, Callable[[], Any]] = {
        "np.partition": lambda: [np.partition(host, host.size - k) for _ in range(times)]
    }
    for name, select in methods(k).items():
        if slow and looped and name == "jnp.sort":
            continue
        # Constants would be folded while compiling: all data are arguments.
        given = (x, jnp.int32(k), jnp.int32(times)) if looped else (x, jnp.int32(k))
        jitted = jax.jit(in_a_loop(select) if looped else select, compiler_options=options)
        compiled = jitted.lower(*given).compile()
        runs[name] = lambda run=compiled, given=given: jax.block_until_ready(run(*given))
    half_a_minute = {"lax.top_k", "jnp.sort"} if k > FEW else {"jnp.sort"}
    once = [name for name in runs if slow and name in half_a_minute]
    seconds = {name: seconds_of(runs.pop(name)) for name in once}
    seconds |= {name: taken.median for name, taken in timing.interleaved(runs, repeats).items()}
    return {
        "selected": "in a loop" if looped else "alone",
        "entries": size,
        "k": k,
        **{
            f"{name}, ms": 1000 * seconds[name] / times if name in seconds else None
            for name in ("ours", "lax.top_k", "jnp.sort", "np.partition")
        },
        "lax.top_k / ours": seconds["lax.top_k"] / seconds["ours"],
    }


def seconds_of(run: Callable[[], Any]) -> float:
    """One run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> int:
    """Times every size."""
    parser = timing.arguments(__doc__, "selection")
    parser.add_argument("--sizes", type=timing.at_least(FEW), nargs="+", default=SIZES)
    args = parser.parse_args()
    cases = [*((size, round(SHARE * size)) for size in args.sizes), (args.sizes[-1], FEW)]
    rows = [compare(size, k, looped, args.repeats) for looped in (True, False) for size, k in cases]
    timing.report(args.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
