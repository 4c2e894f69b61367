"""Our rounds of the workloads against what the machine could do at best.

    python -m benchmarks.floor

Two numbers make the floor: the round's floating-point work over the best rate of any square matrix product, and the
bytes that it cannot help moving over the rate of a large copy, each measured here, on all cores and in turns with the
rounds. The floor is the longer of the two; "sum" is what a machine takes that never does both at once, as a dense layer
of a small batch makes it do. The cohort is shared out over all cores, each a device, and every client has its own
weights (`--shared-weights off`), as the count of the work has it. Two minutes on two cores; targets there: 70 % of the
floor for the MLP, 50 % for the two networks with convolutions.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import ours, timing
from benchmarks.workloads import WORKLOADS, Workload
from fedjax_sparse import build_model

# Of the square matrices that are multiplied: small ones stay in a cache, which on some processors is twice as fast.
SIDES = (256, 512, 1024, 2048)
COPIED = 2**26  # float32s: far more than a cache holds
FLOAT = 4  # bytes


def main() -> int:
    """Prints one row for each workload."""
    parser = timing.arguments(__doc__, "floor")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", timing.cores())
    rows = [row(name, args.repeats) for name in args.workloads]
    timing.report(args.out, rows)
    return 0


def row(name: str, repeats: int) -> dict[str, object]:
    """One workload: its round, its floor, and the ratio of the two."""
    workload = WORKLOADS[name]
    rounds = ours.make_rounds(ours.setting_of(workload, devices=jax.device_count(), shared_weights="off"))
    products_of = {f"product of {side}": make_products(side) for side in SIDES}
    times = timing.interleaved({"round": lambda: rounds(1), "copy": make_copy()} | products_of, repeats)
    flop_rate = 2 * SIDES[-1] ** 3 * jax.device_count() / min(times[name].median for name in products_of)
    byte_rate = 2 * FLOAT * COPIED / times["copy"].median
    products, traffic = flops(workload) / flop_rate, bytes_moved(workload) / byte_rate
    took = times["round"].median
    return {
        "workload": name,
        "Gflop": flops(workload) / 1e9,
        "Gflop/s": flop_rate / 1e9,
        "GB/s": byte_rate / 1e9,
        "products (ms)": 1e3 * products,
        "bytes (ms)": 1e3 * traffic,
        "round (ms)": 1e3 * took,
        "floor (%)": 100 * max(products, traffic) / took,
        "sum (%)": 100 * (products + traffic) / took,
    }


def flops(workload: Workload) -> int:
    """Of a round: each weight's products forward, for its own gradient and for its layer's input's."""
    model = build_model(workload.model, workload.shape, workload.classes)
    sizes = jax.tree.map(lambda leaf: leaf.size, weights(workload))
    each = jax.tree.map(
        lambda size, uses, back: size * uses * (3 if back else 2), sizes, model.uses, model.input_grad
    )
    return 2 * sum(jax.tree.leaves(each)) * workload.examples * workload.cohort


def bytes_moved(workload: Workload) -> int:
    """Of a round: each step reads its images and the weights and writes new weights; the rest may stay in a cache."""
    size = sum(leaf.size for leaf in jax.tree.leaves(weights(workload)))
    image = int(np.prod(workload.shape))
    return workload.cohort * workload.steps * (2 * FLOAT * size + workload.batch * image)


def weights(workload: Workload):
    """ShapeDtypeStructs of the model's parameters."""
    model = build_model(workload.model, workload.shape, workload.classes)
    return jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0))).params


def make_products(side: int) -> Callable[[], object]:
    """Products of square matrices on each device at the same time: as many as are the work of one of the largest."""
    matrices = [jax.device_put(jnp.ones((side, side)), device) for device in jax.devices()]
    turns = (SIDES[-1] // side) ** 3

    @jax.jit
    def multiply(matrix):
        # A product of the last product, scaled so that it stays one: none of them can be left out.
        return jax.lax.fori_loop(0, turns, lambda _, last: (last @ matrix) / side, matrix)

    return lambda: jax.block_until_ready([multiply(matrix) for matrix in matrices])


def make_copy() -> Callable[[], object]:
    """Reads and writes `COPIED` floats, a share on each device; in place, so that no fresh memory is asked for."""
    shares = [jax.device_put(jnp.zeros(COPIED // jax.device_count()), device) for device in jax.devices()]
    increase = jax.jit(lambda share: share + 1, donate_argnums=0)

    def run() -> None:
        shares[:] = [increase(share) for share in shares]
        jax.block_until_ready(shares)

    return run


if __name__ == "__main__":
    sys.exit(main())
