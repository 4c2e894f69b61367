"""The command line: `fedjax-sparse COMMAND ...`; `COMMANDS` are all that there are.

Names and flags are resolved without JAX, which is imported only once a request has been found good.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from tyro.conf import FlagCreatePairsOff, Positional, arg

from fedjax_sparse import __version__, errors
from fedjax_sparse.cli import comparing, exporting, flags, listing, partitions, reporting, sweeping
from fedjax_sparse.cli.common import PROG, arguments, at_the_door, introduced, note, run_sections, value_of
from fedjax_sparse.cli.flags import Section
from fedjax_sparse.config import bibliography, comparison, idle, registry, run_config
from fedjax_sparse.config.cluster import Cluster
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.records import run_folder


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code: 0, 1 for a failure, 2 for a wrong request, 130 interrupted."""
    args = sys.argv[1:] if args is None else list(args)

    def work() -> int:
        _check_encoding(args)
        return _dispatch(args)

    return at_the_door(work)


def _check_encoding(args: Sequence[str]) -> None:
    """Arguments are recorded as UTF-8, also where the locale, which knows another encoding, hands on their bytes."""
    for text in args:
        try:
            text.encode("utf-8", "surrogateescape").decode()
        except UnicodeError:
            raise errors.UsageError(f"argument {text!a} is not UTF-8") from None


def _dispatch(args: Sequence[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if args[0] == "--version":
        print(f"{PROG} {__version__}")
        return 0
    if args[0] not in COMMANDS:
        errors.unknown_name("command", args[0], COMMANDS)
    return COMMANDS[args[0]].function(args[1:])


def _overview() -> str:
    width = max(len(command.usage) for command in COMMANDS.values())
    lines = [f"  {command.usage:{width}}  {command.summary}" for command in COMMANDS.values()]
    return "\n".join(
        [
            f"usage: {PROG} COMMAND ...",
            "",
            "Vectorised simulation of sparse federated learning.",
            "",
            *lines,
            "",
            f"{PROG} COMMAND --help explains a command; {PROG} run ALGORITHM --help lists every option.",
        ]
    )


def _run(args: Sequence[str]) -> int:
    """`run ALGORITHM [--config FILE.toml] [flags]`."""
    chosen, processes = request(args)
    with introduced(
        f"{chosen.algorithm} on {chosen.data.dataset}, {chosen.training.rounds} rounds", processes
    ):
        from fedjax_sparse.experiments import runs

        return runs.run(chosen, [PROG, "run", *args], processes)


def configuration(args: Sequence[str]) -> run_config.RunConfig:
    """The run that the arguments of `run` ask for: the algorithm's defaults, the file's values, the flags'."""
    return request(args)[0]


def request(args: Sequence[str]) -> tuple[run_config.RunConfig, Cluster]:
    """What is to be run, and by which processes."""
    named, rest = (args[0], args[1:]) if args and not args[0].startswith("-") else (None, args)
    path = value_of("--config", rest)
    table = run_config.read(path) if path else {}
    in_file, own = run_config.algorithm_of(table)
    if not (named or in_file) and {"-h", "--help"}.isdisjoint(rest):
        raise errors.UsageError(
            f"name an algorithm: {PROG} run ALGORITHM, or [algorithm] in the --config FILE.toml "
            f"(allowed: {_algorithm_names()})"
        )
    entry = registry.entry(named or in_file or "fedavg")
    if in_file not in (None, entry.name):
        note(f"[algorithm] of {path} belongs to {in_file} and is not used")
        own = {}
    try:
        values = run_config.options_of_run(table) | own
        run_config.check_values(entry, values)
    except errors.UsageError as error:
        raise errors.UsageError(f"{path}: {error}") from None
    given = _run_flags(entry, values, rest, named or in_file)
    for name in given:
        if name in entry.unused:
            note(f"--{name.replace('_', '-')} has no effect on {entry.name}")
    processes = {o.name: given.pop(o.name) for o in declared_options(Cluster) if o.name in given}
    values = run_config.without_rivals(values, given)
    chosen = run_config.configure(entry.name, **values | given)
    usual = run_config.values(run_config.configure(entry.name))
    changed = [name for name, value in values.items() if value != usual[name]]
    for line in idle.notes(run_config.values(chosen), dict.fromkeys([*changed, *given])):
        note(line)
    return chosen, Cluster(**processes)


def _run_flags(
    entry: Entry, values: Mapping[str, Any], args: Sequence[str], named: str | None
) -> dict[str, Any]:
    """The options of a run that are given as flags; `values` are shown as their defaults.

    Without an algorithm (`named` is None), the help of what all algorithms share is printed.
    """
    sections = [*run_sections(), Section("cluster", [*declared_options(Cluster)])]
    own = [*declared_options(entry.hyperparameters)]
    if named and own:
        sections.insert(0, Section(re.sub(r"\W", "_", entry.name), own))
    options = [option for section in sections for option in section.options]
    defaults = {o.name: values.get(o.name, entry.overrides.get(o.name, o.default)) for o in options}
    about = f"{entry.name}: {entry.summary}." if named else f"ALGORITHM is one of {_algorithm_names()}."
    given = flags.parse(
        sections, defaults, args, prog=f"{PROG} run {named or 'ALGORITHM'}", description=about
    )
    given.pop("config", None)
    return given


def _algorithm_names() -> str:
    return f"{', '.join(registry.names())}, or module:factory from outside the package"


# The other commands: a dataclass of arguments, and what is done with them.


@dataclass(frozen=True)
class ResumeArguments:
    """Continues a run that was stopped, or makes one longer."""

    run: Annotated[str, Positional, arg(metavar="RUN", help="folder of the run")]
    chunk: Annotated[
        int | Literal["auto"] | None,
        arg(
            metavar="INT|auto",
            help="clients trained at once from here on, fewer where memory ran out; by default as many as before",
        ),
    ] = None
    rounds: Annotated[
        int | None, arg(help="a later last round, also of a finished run; by default the one it has")
    ] = None
    coordinator: Annotated[str | None, arg(metavar="HOST:PORT|auto", help="as of run")] = None
    num_processes: Annotated[int | None, arg(help="as of run")] = None
    process_id: Annotated[int | None, arg(help="as of run")] = None


def _resume(args: Sequence[str]) -> int:
    given = arguments(ResumeArguments, "resume", args)
    processes = Cluster(given.coordinator, given.num_processes, given.process_id)
    with introduced(f"going on with {given.run}", processes):
        from fedjax_sparse.experiments import resuming

        return resuming.resume(
            Path(given.run), [PROG, "resume", *args], processes, chunk=given.chunk, rounds=given.rounds
        )


@dataclass(frozen=True)
class PlotArguments:
    """Draws figures from the records of one or more runs, or of a comparison."""

    runs: Annotated[
        tuple[str, ...], Positional, arg(metavar="RUN...", help="folders of runs, or that of a comparison")
    ]
    out: Annotated[
        str,
        arg(
            metavar="FOLDER",
            help="where figures go; by default figures/ in a run alone, figures-A-B/ here for several",
        ),
    ] = ""


def _plot(args: Sequence[str]) -> int:
    given = arguments(PlotArguments, "plot", args)
    if not given.runs:
        raise errors.UsageError(f"name at least one run folder: {COMMANDS['plot'].usage}")
    from fedjax_sparse.results import comparison_figures, figures, naming

    folders = [Path(run) for run in given.runs]
    out = Path(given.out) if given.out else naming.figures_folder(folders)
    of_comparison = len(folders) == 1 and (folders[0] / comparison.FILE).is_file()
    for file in comparison_figures.plot(folders[0], out) if of_comparison else figures.plot(folders, out):
        print(file)
    return 0


@dataclass(frozen=True)
class ListArguments:
    """Lists what there is by name."""

    what: Annotated[
        str, Positional, arg(metavar="algorithms|datasets|models|partitions|networks", help="what to list")
    ]
    json: Annotated[bool, FlagCreatePairsOff, arg(help="print a JSON array of objects")] = False


def _list(args: Sequence[str]) -> int:
    given = arguments(ListArguments, "list", args)
    if given.what not in listing.TABLES:
        errors.unknown_name("list", given.what, listing.TABLES)
    rows = listing.TABLES[given.what]()
    if given.json:
        print(json.dumps(rows, indent=2))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:{width}}  {row['description']}")
    return 0


@dataclass(frozen=True)
class CiteArguments:
    """Prints the BibTeX of what was run."""

    run: Annotated[str, Positional, arg(metavar="RUN", help="folder of a run, or of a comparison")]


def _cite(args: Sequence[str]) -> int:
    folder = Path(arguments(CiteArguments, "cite", args).run)
    of_comparison = (folder / comparison.FILE).is_file()
    names = comparison.read(folder).algorithms if of_comparison else [_algorithm_of(folder)]
    entries = [*map(registry.entry, names)]
    for entry in entries:
        if not entry.references:
            note(f"{entry.name} states no references")
    print(bibliography.bibtex(*entries))
    return 0


def _algorithm_of(folder: Path) -> str:
    """What was run there, by name; a run of several seeds that is not there as a whole, has them."""
    found = [folder / run_folder.CONFIG, *sorted(folder.glob(f"seed_*/{run_folder.CONFIG}"))]
    file = next((path for path in found if path.is_file()), None)
    if file is None:
        raise run_folder.no_run(folder, f"it holds no {run_folder.CONFIG}")
    return run_config.algorithm_of(run_config.read(file))[0] or ""


@dataclass(frozen=True)
class PrepareArguments:
    """Writes a data set's raw files as a tensorflow-datasets folder (ArrayRecord), without TensorFlow."""

    dataset: Annotated[str, Positional, arg(metavar="DATASET", help="mnist, fashion_mnist or cifar10")]
    out: Annotated[str, arg(metavar="FOLDER", help="where the prepared folder goes")]
    data_dir: Annotated[
        str, arg(metavar="FOLDER", help="raw files; by default the environment's FEDJAX_SPARSE_DATA")
    ] = ""


def _prepare(args: Sequence[str]) -> int:
    given = arguments(PrepareArguments, "prepare", args)
    from fedjax_sparse.data import prepare

    print(prepare.prepare(given.dataset, data_dir=given.data_dir or None, out_dir=given.out))
    return 0


class Command(NamedTuple):
    """A command: how it is written, what it does in one line, and its function."""

    usage: str
    summary: str
    function: Callable[[Sequence[str]], int]


COMMANDS = {
    "run": Command("run ALGORITHM [flags]", "train, evaluate and record a federation", _run),
    "resume": Command("resume RUN", "continue a run that was stopped, or make it longer", _resume),
    "compare": Command(
        "compare ALGORITHM... [flags]",
        "run algorithms under the same conditions, into one table",
        comparing.compare,
    ),
    "sweep": Command(
        "sweep ALGORITHM... --grid ...",
        "find the best learning rates and other numbers, on held-out examples",
        sweeping.sweep,
    ),
    "plot": Command("plot RUN...", "draw figures from the records of runs", _plot),
    "report": Command("report RUN...", "one HTML page of runs or of a comparison", reporting.report),
    "export": Command(
        "export RUN --format FORMAT",
        "write a run's model as one file, to be used elsewhere",
        exporting.export,
    ),
    "list": Command("list algorithms|datasets|models|partitions|networks", "what there is by name", _list),
    "cite": Command("cite RUN", "print the BibTeX of what was run", _cite),
    "partition": Command("partition [flags]", "draw which client would hold what", partitions.partition),
    "prepare": Command(
        "prepare DATASET --out FOLDER", "write a tensorflow-datasets folder from raw files", _prepare
    ),
}
