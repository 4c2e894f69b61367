"""`fedjax-sparse export RUN --format safetensors|sparse|onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from fedjax_sparse import errors
from fedjax_sparse.cli.common import arguments, introduced, note


@dataclass(frozen=True)
class ExportArguments:
    """Writes the model of a run's checkpoint as one file, which load_model(FILE) reads without the run or its data."""

    run: Annotated[str, Positional, arg(metavar="RUN", help="folder of the run")]
    format: Annotated[
        Literal["safetensors", "sparse", "onnx"],
        arg(
            metavar="safetensors|sparse|onnx",
            help="weights and masks for any framework; values and positions in the fewest bytes; or the computation",
        ),
    ]
    out: Annotated[
        str, arg(metavar="FILE", help="what to write; by default model.FORMAT in the seed's folder")
    ] = ""
    checkpoint: Annotated[str, arg(metavar="last|best|ROUND", help="which checkpoint")] = "last"
    seed: Annotated[int | None, arg(help="of a run of several seeds; by default the first")] = None


def export(args: Sequence[str]) -> int:
    """Writes the file, and says what is in it."""
    given = arguments(ExportArguments, "export", args)
    which = int(given.checkpoint) if given.checkpoint.isdecimal() else given.checkpoint
    if which not in ("last", "best") and not isinstance(which, int):
        raise errors.UsageError(
            f"--checkpoint = {given.checkpoint!r} is not valid; allowed: last, best, or the round of a checkpoint"
        )
    with introduced(f"checkpoint {which} of {given.run} as {given.format}"):
        from fedjax_sparse.experiments import loading, model_files

        run = loading.load_run(given.run)
        seed = run.seeds[0] if given.seed is None else given.seed
        file = Path(given.out) if given.out else run.folder(seed) / f"model.{given.format}"
        model = run.model(which, seed)
        if run.personal:
            note(f"clients of {run.config.algorithm} have models of their own; this is the first client's")
        origin = {"algorithm": run.config.algorithm, "checkpoint": which, "seed": seed}
        saved = model_files.save_model(model, file, given.format, origin=origin)
    share = 100 * saved.zeros / saved.parameters
    note(
        f"{saved.parameters:,} parameters, {share:.4g} % of them zero: {saved.file_bytes:,} bytes "
        f"({saved.dense_bytes:,} as plain arrays)"
    )
    print(saved.file)
    return 0
