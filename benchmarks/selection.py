"""Exact top-k of this package against `lax.top_k`, `jnp.sort` and NumPy's `partition`, by number of entries.

    python -m benchmarks.selection [--sizes 100000 1000000 10000000 40000000]

float32 magnitudes of normal numbers, k = 5 % and, at the largest size, also k = 45, FLARE's at a millionth. The first
three are jitted. They do not give the same: ours a mask, `lax.top_k` values and indices, `sort` and `partition` the
values in order or beside the k-th. All four are run at the same input in turns; from 2e7 entries on, `lax.top_k` and
`sort`, which then take half a minute, are timed once, without a run beforehand. About five minutes on two cores.

Target: at least five times faster than `lax.top_k`.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from fedjax_sparse.sparsity import topk

SIZES = (100_000, 1_000_000, 10_000_000, 40_000_000)
SHARE, FEW = 0.05, 45
SLOW_FROM = 20_000_000  # entries


def methods(x: jax.Array, k: int) -> dict[str, Callable[[], Any]]:
    """What is compared; each compiled, and waits for its result."""
    host, largest = np.array(x), jax.jit(topk.largest)
    # Constants would be folded while compiling: x is an argument. Ours takes a traced k.
    sort, top_k = jax.jit(jnp.sort), jax.jit(lambda x: jax.lax.top_k(x, k))
    compiled = {
        "ours": (largest.lower(x, k).compile(), (x, jnp.int32(k))),
        "lax.top_k": (top_k.lower(x).compile(), (x,)),
        "jnp.sort": (sort.lower(x).compile(), (x,)),
    }
    runs = {
        name: lambda run=run, given=given: jax.block_until_ready(run(*given))
        for name, (run, given) in compiled.items()
    }
    return runs | {"np.partition": lambda: np.partition(host, host.size - k)}


def compare(size: int, k: int, repeats: int) -> dict[str, Any]:
    """A row: milliseconds of each."""
    x = jnp.abs(jax.random.normal(jax.random.key(size), (size,)))
    runs = methods(x, k)
    once = ("lax.top_k", "jnp.sort") if size >= SLOW_FROM else ()
    seconds = {name: seconds_of(runs.pop(name)) for name in once}
    seconds |= {name: times.median for name, times in timing.interleaved(runs, repeats).items()}
    return {
        "entries": size,
        "k": k,
        **{f"{name}, ms": 1000 * seconds[name] for name in ("ours", *seconds)},
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
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    args = parser.parse_args()
    rows = [compare(size, round(SHARE * size), args.repeats) for size in args.sizes]
    rows.append(compare(args.sizes[-1], FEW, args.repeats))
    timing.report(args.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
