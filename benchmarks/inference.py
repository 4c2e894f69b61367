"""What a sparse layer gains once it is trained: bytes of its file, and time of its product, dense against sparse.

    python -m benchmarks.inference [--layers 784x128 1024x1024] [--sparsities 0 0.8 0.9 0.95 0.99]

A dense layer's kernel [I, O], float32, of which a random part is zero. Its file is what `fedjax-sparse export` writes:
safetensors, zeros and bit-packed masks included, and the compact sparse file. Its product with one example and with a
batch of 100, in microseconds, is computed dense, by XLA; by `jax.experimental.sparse`, as BCOO and as BCSR; and by
`scipy.sparse`, as CSR. All are given their inputs in the order that they like best. XLA uses all cores, SciPy one.
Methods take turns, and each one's fastest turn counts: whatever else the machine does can only add to it.

Target: none. Masks simulate sparsity, and this says from where on a CPU would gain from it.
"""

import argparse
import operator
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.experimental import sparse

from benchmarks import timing
from fedjax_sparse.records import safetensors_file, sparse_file

BATCHES = (1, 100)
TIMED = (
    0.002  # seconds of a turn, which has as many products as fit: short, so that some turns are undisturbed
)


def main() -> int:
    """Measures every layer at every sparsity."""
    parser = timing.arguments(__doc__, "inference")
    parser.add_argument("--layers", nargs="+", type=layer, default=[(784, 128), (1024, 1024)], metavar="IxO")
    parser.add_argument("--sparsities", nargs="+", type=fraction, default=[0, 0.8, 0.9, 0.95, 0.99])
    parser.set_defaults(repeats=20)
    args = parser.parse_args()
    rows = []
    for shape in args.layers:
        own = [row(*shape, sparsity, args.repeats) for sparsity in args.sparsities]
        dense = [f"dense, {batch}" for batch in BATCHES]
        fastest = {name: min(each[name] for each in own) for name in dense}  # it does not depend on the zeros
        rows += [each | fastest for each in own]
    timing.report(args.out, rows)
    return 0


def layer(text: str) -> tuple[int, int]:
    """A type of option: inputs and outputs, such as 784x128."""
    inputs, outputs = map(int, text.split("x"))
    return inputs, outputs


def fraction(text: str) -> float:
    """A type of option: a sparsity."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return value


def row(inputs: int, outputs: int, sparsity: float, repeats: int) -> dict[str, Any]:
    """Bytes, and microseconds of each product."""
    kernel = drawn(inputs, outputs, sparsity)
    files = [form.write({}, {"kernel": kernel}) for form in (safetensors_file, sparse_file)]
    measured: dict[str, Any] = {
        "layer": f"{inputs}x{outputs}",
        "zeros, %": 100 * sparsity,
        "array, kB": kernel.nbytes / 1000,
        "safetensors, kB": len(files[0]) / 1000,
        "sparse, kB": len(files[1]) / 1000,
    }
    for batch in BATCHES:
        x = np.random.default_rng(1).normal(size=(batch, inputs)).astype(np.float32)
        products = {name: repeated(product) for name, product in methods(kernel, x).items()}
        taken = timing.interleaved({name: run for name, (run, _) in products.items()}, repeats)
        for name, (_, times) in products.items():
            measured[f"{name}, {batch}"] = 1e6 * min(taken[name].seconds) / times
    return measured


def drawn(inputs: int, outputs: int, sparsity: float) -> np.ndarray:
    """A kernel of which a random part, exactly so large, is zero."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=inputs * outputs).astype(np.float32)
    kernel[rng.permutation(kernel.size)[: round(sparsity * kernel.size)]] = 0
    return kernel.reshape(inputs, outputs)


def methods(kernel: np.ndarray, x: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The product of x [B, I] and the kernel [I, O] in all ways; the sparse ones compute [O, I] @ [I, B]."""
    turned, columns = np.ascontiguousarray(kernel.T), np.ascontiguousarray(x.T)
    given = jnp.asarray(turned)
    csr = scipy.sparse.csr_array(turned)
    multiply = jax.jit(operator.matmul)

    def on_device(left: Any, right: Any) -> Callable[[], Any]:
        left, right = jax.device_put((left, right))
        return lambda: jax.block_until_ready(multiply(left, right))

    found = {
        "dense": on_device(x, kernel),
        "BCOO": on_device(sparse.BCOO.fromdense(given), columns),
        "BCSR": on_device(sparse.BCSR.fromdense(given), columns),
        "CSR": lambda: csr @ columns,
    }
    for name, product in found.items():
        result = np.asarray(product())
        np.testing.assert_allclose(
            result if name == "dense" else result.T, x @ kernel, rtol=1e-3, atol=1e-3, err_msg=name
        )
    return found


def repeated(product: Callable[[], Any]) -> tuple[Callable[[], Any], int]:
    """The product as many times in a row as take long enough to be timed, and how many that are."""
    product()
    start = time.perf_counter()
    product()
    times = max(1, round(TIMED / (time.perf_counter() - start)))

    def run() -> None:
        for _ in range(times):
            product()

    return run, times


if __name__ == "__main__":
    sys.exit(main())
