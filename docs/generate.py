"""Pages of the site that repeat what the code says: algorithms, command line, Python, notebooks. A hook of MkDocs."""

import contextlib
import importlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import fedjax_sparse
from fedjax_sparse.cli import commands
from fedjax_sparse.config import bibliography, registry
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import Option, declared_options, type_name

PACKAGE = Path(fedjax_sparse.__file__).parent
NOTEBOOKS = sorted((PACKAGE.parent / "notebooks").glob("*.py"))


def _dotted(module: Path) -> str:
    return ".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts)


# Name of a page -> the package that it describes.
FOLDERS = {
    dotted.removeprefix("fedjax_sparse."): dotted
    for dotted in sorted(_dotted(init.parent) for init in PACKAGE.glob("*/**/__init__.py"))
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Ends the navigation with the pages on Python, one for each folder."""
    assert config.nav is not None
    config.nav.append({"Python": ["api/index.md", *({name: f"api/{name}.md"} for name in FOLDERS)]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are written here."""
    pages = {"algorithms": algorithms(), "command_line": command_line(), "api/index": api()}
    pages |= {f"api/{name}": folder(dotted) for name, dotted in FOLDERS.items()}
    pages |= {f"notebooks/{path.stem}": notebook(path) for path in NOTEBOOKS}
    for name, lines in pages.items():
        files.append(File.generated(config, f"{name}.md", content="\n".join(lines) + "\n"))
    return files


def algorithms() -> Iterator[str]:
    """A section for each algorithm: what it does, who wrote it, what travels, and its options."""
    entries = registry.algorithms().values()
    yield from (
        "# Algorithms",
        "",
        f"All {len(entries)} algorithms, the systems before the baselines. *Reconstructed* means that no "
        "official code settles every detail: the docstring of the factory says which reading is ours.",
    )
    for entry in entries:
        yield from ("", f"## {entry.name}", "", f"{entry.summary[:1].upper()}{entry.summary[1:]}.", "")
        paper = bibliography.paper(entry)
        facts = {
            "Paper": f"{paper.author} {paper.year}, [{paper.title}]({paper.url})",
            "Belongs to": f"{entry.system}, a {entry.role} here",
            "State": entry.state,
            "Up": entry.up,
            "Down": entry.down,
            "Sparse": ", ".join(entry.sparse or ()) or "nothing",
            "Reconstructed": entry.status.removeprefix("reconstructed: "),
            "Changes of a run": ", ".join(f"`{name} = {value}`" for name, value in entry.overrides.items()),
            "Factory": f"[`{_factory(entry)}`][{_factory(entry)}]",
        }
        yield from (f"* **{name}**: {said}" for name, said in facts.items() if said)
        yield from _options([*declared_options(entry.hyperparameters)])


def _factory(entry: Entry) -> str:
    return entry.factory.replace(":", ".")


def _options(options: list[Option]) -> Iterator[str]:
    if options:
        yield from ("", "| option | type | default | paper | |", "| --- | --- | --- | --- | --- |")
    for option in options:
        cells = (f"`{option.flag}`", type_name(option), option.default, option.paper or "", option.help)
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def command_line() -> Iterator[str]:
    """What every command prints when it is asked for help, and where a command needs an algorithm, FedAvg's."""
    yield from ("# Command line", "", *_printed("--help"))
    for name in commands.COMMANDS:
        asked = [name, "fedavg"] if name == "run" else [name]
        yield from ("", f"## {name}", "", *_printed(*asked, "--help"))


def notebook(path: Path) -> Iterator[str]:
    """A notebook's text and code; its outputs are not stored."""
    for cell in jupytext.read(path).cells:
        yield from ([cell.source] if cell.cell_type == "markdown" else ["```python", cell.source, "```"])
        yield ""
    yield f"This page is the notebook `notebooks/{path.name}`: `jupytext --to ipynb` opens it in Jupyter."


def _printed(*args: str) -> Iterator[str]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        commands.main(list(args))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).rstrip()
    yield from ("```text", f"$ fedjax-sparse {' '.join(args)}", plain, "```")


def api() -> Iterator[str]:
    """The public names, and where all others are."""
    yield from ("# Python", "", "`import fedjax_sparse as fs` has these names:", "")
    for name in fedjax_sparse.__all__:
        if name != "__version__":
            found = getattr(fedjax_sparse, name)
            path = f"{found.__module__}.{found.__qualname__}"
            yield f"* [`fs.{name}`][{path}]: {_first_line(found)}"
    yield from ("", "Each folder has a page with all of its modules:", "")
    for name, dotted in FOLDERS.items():
        yield f"* [`{dotted}`]({name}.md): {_first_line(importlib.import_module(dotted))}"
    yield from ("", "These modules lie beside them:", "", *_modules(PACKAGE))


def folder(dotted: str) -> Iterator[str]:
    """What a folder is for, and its modules."""
    yield from (f"::: {dotted}", "    options: {heading_level: 1, show_root_full_path: true}")
    yield from _modules(PACKAGE.parent / dotted.replace(".", "/"))


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _modules(path: Path) -> Iterator[str]:
    for module in sorted(path.glob("*.py")):
        if module.stem not in ("__init__", "__main__"):
            yield from ("", f"::: {_dotted(module)}")
