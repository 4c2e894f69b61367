"""What one GPU does: precisions, chunks, both forms of clients' convolutions, and training that is not federated.

    python -m benchmarks.accelerator                      # --only pfl resnet cohort mlp for a part
    python -m benchmarks.accelerator --quick              # tiny, on any machine: does it run?

Synthetic images; FedAvg where nothing else is said; no evaluation; compilation is not timed. Targets on one H200:
`pfl` (pfl-research's CIFAR-10 workload, arXiv 2404.06430): its 1,500 rounds in 30 s and 15 times as fast as pfl, which
runs here too where PyTorch with CUDA and pfl are installed. `resnet` (SparsyFed's settings, arXiv 2504.05153): half the
images a second of plain training, the same network in the same precision with the cohort's 160 images a step.
`cohort` (1,000 clients of ResNet-18, one step of 4 images) and `mlp` (10,000 clients a round): that they finish.

`tf32` and `float32` are products of float32 numbers, `bfloat16` is mixed precision. Chunk `auto` is the cohort, halved
until the rounds can be compiled and, by the estimate, fit into memory, as a run's is. `grouped` convolutions are JAX's
own rule for kernels that differ by client. What fails is a row too, with its reason. Written for a quarter of an hour
on one H200, where it has not been run yet.
"""

import functools
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks import timing
from benchmarks.ours import make_rounds, rounds_of, setting_of
from benchmarks.workloads import LEARNING_RATE, WORKLOADS, Workload
from fedjax_sparse import build_model, make_algorithm
from fedjax_sparse.models import spec
from fedjax_sparse.models.layers import DEFAULT, Ops
from fedjax_sparse.models.model import Model
from fedjax_sparse.simulation import memory, programs
from fedjax_sparse.types import Variables

# By the name in the table: the precision of float32 products, and the layers' type.
PRECISIONS = {"float32": ("float32", None), "tf32": ("tensorfloat32", None), "bfloat16": (None, jnp.bfloat16)}
CHUNKS = (1, 8, 32, 128)
PARTS = {
    "pfl": WORKLOADS["pfl_cnn"],
    "resnet": Workload((32, 32, 3), 100, "resnet18:norm=batch", clients=100, cohort=10, batch=16, steps=31),
    "cohort": Workload((32, 32, 3), 10, "resnet18", clients=1000, cohort=1000, batch=4, steps=1),
    "mlp": WORKLOADS["mlp"]._replace(clients=10_000, cohort=10_000),
}


class Case(NamedTuple):
    """A row: `how` is an algorithm, `grouped` or `plain`; `rounds` are timed together, many of them only once."""

    part: str
    precision: str
    chunk: int | str = ""
    how: str = "fedavg"
    rounds: int = 1


def cases(part: str, workload: Workload, whole: int) -> Iterator[Case]:
    """The rows of a part; `whole` is the number of rounds of pfl's run."""
    chunks = [*(chunk for chunk in CHUNKS if chunk < workload.cohort), workload.cohort]
    if part == "pfl":
        yield from (Case(part, "tf32", chunk, how, 10) for chunk in chunks for how in ("fedavg", "grouped"))
        yield from (Case(part, precision, workload.cohort, "fedavg", whole) for precision in PRECISIONS)
    elif part == "resnet":
        for precision in PRECISIONS:
            yield Case(part, precision, how="plain")
            yield from (Case(part, precision, chunk) for chunk in chunks)
            yield Case(part, precision, workload.cohort, "grouped")
            yield Case(part, precision, workload.cohort, "sparsyfed")
    elif part == "cohort":
        yield from (Case(part, precision, "auto") for precision in PRECISIONS)
        yield from (Case(part, "bfloat16", chunk) for chunk in chunks[1:-1])
    else:
        yield from (Case(part, precision, "auto") for precision in PRECISIONS)
        yield from (Case(part, "tf32", chunk) for chunk in chunks[1:-1])


def tiny(workload: Workload) -> Workload:
    """The same in small, and without a deep network."""
    model = "lenet5" if workload.model.startswith("resnet") else "softmax"
    return workload._replace(model=model, clients=4, cohort=4, batch=2, steps=2)


def network(workload: Workload, precision: str, grouped: bool) -> Model:
    """The workload's model."""
    name, options = spec.parse(workload.model)
    model = build_model(
        name, workload.shape, workload.classes, compute_dtype=PRECISIONS[precision][1], **options
    )

    def conv(name, x, kernel, strides, padding):
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def apply(variables, x, *, ops=DEFAULT, **how):
        own = Ops(DEFAULT.dense, conv) if ops is DEFAULT else ops
        return model.apply(variables, x, ops=own, **how)

    return model._replace(apply=apply) if grouped else model


def plain_training(workload: Workload, model: Model) -> Callable[[int], None]:
    """As many images a step as the cohort, as many steps a round as a client takes; one jitted step after another."""
    x, y = workload.arrays(workload.cohort)
    steps = [
        jax.device_put((x[:, start : start + workload.batch], y[:, start : start + workload.batch]))
        for start in range(0, workload.examples, workload.batch)
    ]
    optimizer = optax.sgd(LEARNING_RATE)

    def loss(params, stats, x, y):
        images = x.reshape(-1, *workload.shape).astype(jnp.float32) / 255
        outputs, stats = model.apply(Variables(params, stats), images, train=True, key=jax.random.key(0))
        return jnp.mean(model.loss(outputs, y.reshape(-1))), stats

    @jax.jit(donate_argnums=0)
    def step(state, x, y):
        params, stats, moments = state
        grads, stats = jax.grad(loss, has_aux=True)(params, stats, x, y)
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), stats, moments

    params, stats = model.init(jax.random.key(0))
    state = params, stats, optimizer.init(params)

    def run(rounds: int) -> None:
        nonlocal state
        for _ in range(rounds):
            for batch in steps:
                state = step(state, *batch)
        jax.block_until_ready(state)

    return run


def measure(case: Case, workload: Workload, repeats: int) -> dict[str, Any]:
    """One row; a run that does not fit into memory is one too."""
    row: dict[str, Any] = {
        **case._asdict(),
        "s a run": None,
        "ms a round": None,
        "images/s": None,
        "note": "",
    }
    model = network(workload, case.precision, case.how in ("grouped", "plain"))
    try:
        with jax.default_matmul_precision(PRECISIONS[case.precision][0]):
            if case.how == "plain":
                run = plain_training(workload, model)
            elif case.chunk == "auto":
                whole = setting_of(workload, model=model, chunk=workload.cohort)
                fedavg = functools.partial(make_algorithm, "fedavg")
                compiled = memory.compile_to_fit(fedavg, whole)
                row["chunk"] = compiled.setting.chunk
                run = rounds_of(compiled.setting, compiled.program)
            else:
                setting = setting_of(workload, model=model, chunk=int(case.chunk))
                run = make_rounds(setting, "sparsyfed" if case.how == "sparsyfed" else "fedavg")
            seconds = time_of(run, case.rounds, repeats)
    except (jax.errors.JaxRuntimeError, MemoryError, memory.OutOfMemoryError) as error:
        return row | {"note": (str(error) or "out of memory").splitlines()[0][:60]}
    images = case.rounds * workload.cohort * workload.examples / seconds
    return row | {"s a run": seconds, "ms a round": 1000 * seconds / case.rounds, "images/s": images}


def time_of(run: Callable[[int], None], rounds: int, repeats: int) -> float:
    """Seconds that so many rounds take; the median of repeated runs unless they are many."""

    def all_rounds() -> None:
        for done in range(0, rounds, programs.MAX_BLOCK):
            run(min(programs.MAX_BLOCK, rounds - done))

    if rounds <= programs.MAX_BLOCK:
        return timing.interleaved({"": all_rounds}, repeats)[""].median
    run(1)
    start = time.perf_counter()
    all_rounds()
    return time.perf_counter() - start


def pfl_itself(rounds: int, repeats: int, logs: Path) -> dict[str, Any] | str:
    """pfl-research on the same card, or why not."""
    missing = [name for name in ("torch", "pfl") if importlib.util.find_spec(name) is None]
    if missing:
        return f"pfl on this card: not run, {' and '.join(missing)} cannot be imported here"
    from benchmarks.peer_workers.process import Framework, PeerError, Worker

    logs.mkdir(parents=True, exist_ok=True)
    try:
        worker = Worker(Framework("pfl_worker.py"), "pfl_cnn", logs)
        seconds = float(np.median([worker.run(rounds) for _ in range(repeats)]))
        worker.end()
    except PeerError as error:
        return f"pfl on this card: {error}"
    images = rounds * PARTS["pfl"].cohort * PARTS["pfl"].examples / seconds
    return {
        **Case("pfl", "PyTorch's", "", "pfl", rounds)._asdict(),
        "s a run": seconds,
        "ms a round": 1000 * seconds / rounds,
        "images/s": images,
        "note": "",
    }


def main(args: Sequence[str] | None = None) -> int:
    """Runs the parts and prints one table."""
    parser = timing.arguments(__doc__, "accelerator")
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS], help="parts to run")
    parser.add_argument("--quick", action="store_true", help="everything tiny")
    given = parser.parse_args(args)
    rows, remarks = [], []
    for part in given.only:
        workload = tiny(PARTS[part]) if given.quick else PARTS[part]
        for case in cases(part, workload, 20 if given.quick else 1500):
            rows.append(measure(case, workload, given.repeats))
            print(rows[-1], flush=True)
            jax.clear_caches()
        if part == "pfl" and not given.quick:
            peer = pfl_itself(10, given.repeats, given.out.parent)
            (remarks if isinstance(peer, str) else rows).append(peer)
    plain = {row["precision"]: row["images/s"] for row in rows if row["how"] == "plain"}
    for row in rows:
        base = plain.get(row["precision"]) if row["part"] == "resnet" else None
        row["of plain"] = row["images/s"] / base if base and row["images/s"] else None
    timing.report(given.out, rows)
    print(*remarks, sep="\n", end="\n" if remarks else "")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
