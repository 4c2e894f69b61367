"""`fedjax-sparse partition [flags]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedjax_sparse.cli import flags
from fedjax_sparse.cli.common import PROG
from fedjax_sparse.cli.flags import Section
from fedjax_sparse.config import run_config
from fedjax_sparse.config.options import Option, declared_options
from fedjax_sparse.config.sections import Data, Partition

ABOUT = "Draws which client would hold what, without a run: the flags are those of run."
# Of the data, what decides who holds what.
OF_DATA = ("dataset", "label_column", "owner_column", "data_dir", "cache_dir", "task", "train_examples")
OUT = Option("out", str, "", "folder of the figure; by default one here, named after all of this", None, None)


def partition(args: Sequence[str]) -> int:
    """Draws a partition and prints the files."""
    of_data = [option for option in declared_options(Data) if option.name in OF_DATA]
    sections = [
        Section("partition", [*declared_options(Partition)]),
        Section("data", of_data),
        Section("figure", [OUT]),
    ]
    defaults = {option.name: option.default for section in sections for option in section.options}
    given = flags.parse(sections, defaults, args, prog=f"{PROG} partition", description=ABOUT)
    out = given.pop(OUT.name, None)
    made = {"data": Data(), "partition": Partition(), **run_config.make_sections(given)}
    from fedjax_sparse.experiments import dealing

    for file in dealing.draw(made["data"], made["partition"], Path(out) if out else None):
        print(file)
    return 0
