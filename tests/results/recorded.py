"""Run folders made by hand, whole enough for a report: layers, costs and manifests."""

import json
from pathlib import Path

import tomli_w

LAYERS = ("Dense_0/kernel", "Dense_1/kernel", "Dense_2/kernel")


def rows(rounds, offset=0.0, sparse=True):
    """Rows whose numbers follow from the round; a layer is the sparser the earlier it stands."""
    return [
        {
            "round": t,
            "train_loss": None if t == 0 else 2.0 / t + offset,
            "global_test_loss": 2.5 / (t + 1) + offset,
            "global_test_accuracy": 0.9 - 0.8 / (t + 1) - offset,
            "density": 1 - 0.04 * t if sparse else 1.0,
            "density_prunable": 1 - 0.045 * t if sparse else 1.0,
            "uplink_density": 1 - 0.04 * t if sparse else 1.0,
            "downlink_density": 1 - 0.03 * t if sparse else 1.0,
            **({f"density/{name}": 1 / (1 + t / (i + 1)) for i, name in enumerate(LAYERS)} if sparse else {}),
            "uplink_bytes": 1_000_000 * t,
            "downlink_bytes": 2_500_000 * t,
            "flops": 10**9 * t * (1 if sparse else 2),
            "flops_dense": 2 * 10**9 * t,
            "wall_seconds": 0.5 * t,
        }
        for t in rounds
    ]


def write(folder: Path, recorded, algorithm="fedavg", seeds=(0,), status="finished", **options) -> Path:
    """The folder of a run; `recorded` are the rows of each seed."""
    own = {"sparsity": options.pop("sparsity")} if "sparsity" in options else {}
    for seed, of_seed in zip(seeds, recorded, strict=True):
        part = folder if len(seeds) == 1 else folder / f"seed_{seed}"
        part.mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in of_seed)
        (part / "metrics.jsonl").write_text(text)
        (part / "clients.csv").write_text("client,examples,class_0,class_1\n0,30,10,20\n1,44,44,0\n")
        for place in {part, folder}:
            table = {
                "dataset": "digits",
                "partition": "iid",
                "seed": seed if place == part else seeds[0],
                "seeds": 1 if place == part else len(seeds),
                **options,
                "algorithm": {"name": algorithm, **own},
            }
            (place / "config.toml").write_text(tomli_w.dumps(table))
            manifest = {
                "status": status,
                "started": "2026-01-01T00:00:00+00:00",
                "command": ["fedjax-sparse", "run", algorithm, "--note", "<b>&"],
                "seeds": [seed] if place == part else [*seeds],
                "versions": {"python": "3.11.7", "jax": "0.10.2"},
                "device_kind": "cpu",
                "device_count": 1,
            }
            (place / "manifest.json").write_text(json.dumps(manifest))
    return folder
