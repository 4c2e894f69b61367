"""Everything in the registry head to head on Fashion-MNIST at 90, 95 and 99 %, each with a learning rate of its own.

    python -m benchmarks.head_to_head --subset     # 13 at 95 %, three seeds: half an hour on two cores
    python -m benchmarks.head_to_head              # all, perceptron and LeNet-5, three partitions: four hours
    python -m benchmarks.head_to_head --scale paper  # the same with all examples, for an accelerator

Every algorithm is tuned by the same rule with the same budget, `fedjax-sparse sweep`: four learning rates of its
clients, one seed, on held-out training examples of the Dirichlet(0.1) partition, at 95 %. The test set is seen once, by
`fedjax-sparse compare --tuned`. All other options are each algorithm's own defaults, but for `OWN`: compressed updates
keep 5 %, what has no --sparsity comes as near to 95 % as it can, and Sparse-ProxSkip, whose paper states no scope of
its TopK, prunes every layer alike, as in `benchmarks.systems`: without that its largest layer is emptied at once.

At the end stands, for every table, by which rivals each of the five systems is beaten: in the mean over seeds of the
mean test accuracy in the last rounds. Algorithms whose weights differ from the others' are marked in the note.

What is finished is not repeated, so the command may be given again at any time.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from benchmarks import timing
from fedjax_sparse.cli.commands import main as fedjax_sparse
from fedjax_sparse.cli.process import INTERRUPTED, TERMINATED, leave
from fedjax_sparse.config import registry, run_config, sweep

PARTITIONS = {
    "iid": "--partition iid",
    "dirichlet": "--partition dirichlet --alpha 0.1",
    "two-classes": "--partition classes --classes-per-client 2",
}
TUNED_ON = "dirichlet"
GRID = "client-lr=0.03,0.1,0.3,1"
TUNED_AT = 0.95
KEEP = ("flare", "error-correction", "ef21", "fedprox-error-correction", "ffl", "random-k")
OWN: dict[str, dict[str, Any]] = {
    **{name: {"keep_percent": 5.0} for name in KEEP},
    **{name: {"layerwise": True, "variant": "v2"} for name in ("sparse-proxskip", "sparse-proxskip-local")},
    "dgc": {"ratio": 0.05},
    "prunefl": {"first_rounds": 10, "adjust_every": 10, "max_density": 0.05},
    "sub-fedavg": {"target_density": 0.05},
}
SYSTEMS = ("fedsparsify-global", "salientgrads", "flare", "sparse-proxskip", "sparsyfed")
RIVALS = (
    "fedavg",
    "error-correction",
    "zerofl",
    "static-erk",
    "snip-all",
    "feddst",
    "fedtiny",
    "flash",
)


class Scale(NamedTuple):
    """How large the problem is: what all runs share, and the seeds of a comparison."""

    shared: str
    seeds: int


class Plan(NamedTuple):
    """What is compared where.

    Attributes:
        algorithms: Names.
        models: Names.
        partitions: Keys of `PARTITIONS`.
        sparsities: Fractions of zeros.
        scale: How large.
    """

    algorithms: Sequence[str]
    models: Sequence[str]
    partitions: Sequence[str]
    sparsities: Sequence[float]
    scale: Scale


EVERY_RUN = "--dataset fashion_mnist --batch-size 32 --local-epochs 1 --eval-every 2 --no-figures"
SUBSET = Scale(f"{EVERY_RUN} --train-examples 12000 --clients 50 --cohort-size 10 --rounds 40", seeds=3)
CPU = Scale(f"{EVERY_RUN} --train-examples 10000 --clients 50 --cohort-size 5 --rounds 30", seeds=1)
PAPER = Scale(f"{EVERY_RUN} --clients 100 --cohort-size 10 --rounds 300", seeds=3)


def plan_of(subset: bool, scale: str) -> Plan:
    """What is asked for."""
    if subset:
        return Plan((*SYSTEMS, *RIVALS), ("mlp",), (TUNED_ON,), (TUNED_AT,), SUBSET)
    own = {"cpu": CPU, "paper": PAPER}[scale]
    return Plan(registry.names(), ("mlp", "lenet5"), [*PARTITIONS], (0.9, 0.95, 0.99), own)


def main() -> int:
    """Runs what has not been run yet, then writes and prints the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.head_to_head",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--subset", action="store_true", help="the five systems and eight rivals alone")
    parser.add_argument("--scale", choices=("cpu", "paper"), default="cpu", help="of everything")
    parser.add_argument("--data-dir", help="folder of data sets; by default FEDJAX_SPARSE_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/head_to_head"))
    args = parser.parse_args()
    data = ["--data-dir", args.data_dir] if args.data_dir else []
    plan = plan_of(args.subset, args.scale)
    parts = [_heading()]
    for model in plan.models:
        winners = tune(plan, model, args.out / f"tuned-{model}", data)
        for partition in plan.partitions:
            folder = args.out / f"{model}-{partition}"
            compare(plan, model, partition, winners, folder, data)
            table = (folder / "table.md").read_text().strip()
            parts += [f"## {model}, {partition}", table, "\n".join(verdicts(folder))]
        tuned = (args.out / f"tuned-{model}" / "table.md").read_text().strip()
        parts += [f"## {model}, tuned on {TUNED_ON}", tuned]
    text = "\n\n".join(parts) + "\n"
    (args.out / "head_to_head.md").write_text(text)
    print(text)
    return 0


def tune(plan: Plan, model: str, out: Path, data: Sequence[str]) -> Path:
    """The file of the learning rates that won."""
    out.parent.mkdir(parents=True, exist_ok=True)
    own = out.with_suffix(".toml")
    apart = {name: values for name, values in OWN.items() if name in plan.algorithms}
    own.write_text(tomli_w.dumps({"algorithm": apart}))
    shared = [*f"{plan.scale.shared} --model {model} {PARTITIONS[TUNED_ON]}".split(), *data]
    asked = ["--grid", GRID, "--sparsity", str(TUNED_AT), "--config", str(own), "--out", str(out)]
    _run(["sweep", *plan.algorithms, *asked, *shared])
    return out / "winners.toml"


def compare(plan: Plan, model: str, partition: str, winners: Path, out: Path, data: Sequence[str]) -> None:
    """Runs a comparison into its folder."""
    shared = [*f"{plan.scale.shared} --model {model} {PARTITIONS[partition]}".split(), *data]
    seeds = ["--seeds", str(plan.scale.seeds), "--reference", "fedavg", "--tuned", str(winners)]
    listed = ",".join(map(str, plan.sparsities))
    won = sweep.winners_of(run_config.read(winners))  # all whose every setting did not diverge
    algorithms = [name for name in plan.algorithms if name in won]
    _run(["compare", *algorithms, *seeds, "--sparsities", listed, "--out", str(out), *shared])


def verdicts(folder: Path) -> Iterator[str]:
    """For each of the five systems, at each sparsity, by which rivals it is beaten; what keeps 5 % stands at 95 %."""
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["score_mean"]]
    for row in rows:
        if row["algorithm"] not in SYSTEMS:
            continue
        rivals = [
            (float(other["score_mean"]), other["algorithm"])
            for other in rows
            if other["algorithm"] not in SYSTEMS
            and other["sparsity"] in ("", row["sparsity"] or str(TUNED_AT))
        ]
        better = [f"{name} ({100 * score:.1f})" for score, name in sorted(rivals, reverse=True)]
        better = better[: sum(score > float(row["score_mean"]) for score, _ in rivals)]
        name = f"{row['algorithm']} {row['sparsity']}".strip()
        what = f"is beaten by {', '.join(better)}" if better else "is beaten by none of the rivals"
        yield f"- {name} ({100 * float(row['score_mean']):.1f}) {what}."


def _heading() -> str:
    facts = timing.machine()
    command = " ".join(["python -m benchmarks.head_to_head", *sys.argv[1:]])
    return f"`{command}`: {facts['cpu']}, {facts['cores']} cores, JAX {facts['jax']}, {facts['date']}."


def _run(command: list[str]) -> None:
    """Passes on signals and refusals; what failed or diverged is said in the tables."""
    code = fedjax_sparse(command)
    if code in (2, INTERRUPTED, TERMINATED):
        leave(code)


if __name__ == "__main__":
    sys.exit(main())
