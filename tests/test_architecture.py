"""What must never import what, that only the simulation jits, that names need no JAX, and that code fits a screen."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

import fedjax_sparse

ROOT = "fedjax_sparse"
FOLDER = Path(fedjax_sparse.__file__).parent

# The floors of the house, from the ground up. A room may use its own modules and the rooms of lower floors.
FLOORS: list[set[str]] = [
    {"errors", "types"},
    {"trees", "costs", "data"},
    {"devices"},
    {"models"},
    {"sparsity", "config"},
    {"clients", "server"},
    {"rounds"},
    {"algorithms", "baselines"},
    {"simulation"},
    {"records"},
    {"results"},
    {"experiments", "testing", "reproduction"},
    {ROOT},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
# Rooms that need less than all that lies below them.
NARROWER: dict[str, set[str]] = {
    "costs": {"errors", "types"},
    "data": {"errors", "types"},
    "config": {"errors", "costs", "data", "models"},
    "rounds": {"errors", "types", "trees", "costs", "config", "sparsity", "clients", "server"},
    "algorithms": {"errors", "types", "trees", "costs", "config", "sparsity", "clients", "server", "rounds"},
    "baselines": {"errors", "types", "trees", "costs", "config", "sparsity", "clients", "server", "rounds"},
    "results": {"errors", "costs", "config", "records"},
    "reproduction": {"errors", "costs", "data", "config", "records", "results"},
}
# An algorithm is not another one's part: what two of them share has a room of its own.
APART = {"algorithms", "baselines"}

# Part -> what it may import from outside the package, besides the standard library.
OUTSIDE = {
    "types": {"jax", "optax"},
    "errors": set(),
    "trees": {"jax"},
    "costs.prices": {"numpy"},
    "data.partition": {"numpy"},
    "algorithms": {"jax", "numpy", "optax"},
    "baselines": {"jax", "numpy", "optax"},
    "results": {"matplotlib", "numpy", "scipy"},
    "reproduction": {"matplotlib", "numpy", "scipy"},
}
# Algorithms compute, and may warn: no files, processes or clocks.
STANDARD = {
    "__future__",
    "collections",
    "dataclasses",
    "functools",
    "itertools",
    "math",
    "operator",
    "typing",
    "warnings",
}

# What fits on a screen, in lines. Docstrings of functions are not counted, functions within functions are.
LONGEST_FILE, LONGEST_FUNCTION = 400, 60

# The contract compiles a round alone, to count how often.
JITTED = {"simulation.programs", "testing.subject"}
JIT = {"jit", "pjit", "pmap"}

WITHOUT_JAX = [
    "cli.commands",
    "cli.comparing",
    "cli.flags",
    "cli.listing",
    "cli.sweeping",
    "config.comparison",
    "config.network_files",
    "config.registry",
    "config.run_config",
    "config.sweep",
    "costs.prices",
    "costs.units",
    "data.datasets",
    "data.partition",
    "data.sampling",
    "data.synthetic",
    "errors",
    "records.run_folder",
    "records.sinks",
    "results.comparison_figures",
    "results.comparison_table",
    "results.figures",
    "results.reading",
    "results.report",
    "results.sweep_table",
    "results.tables",
    "cli.reproducing",
    "reproduction.page",
]


class Import(NamedTuple):
    """A module that is imported, and whether that happens when the importing module is."""

    target: str
    at_once: bool


def sources() -> dict[str, str]:
    """Module name (without the package's own) -> source text."""
    found = {}
    for path in sorted(FOLDER.rglob("*.py")):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name or ROOT] = path.read_text(encoding="utf-8")
    return found


def imports(source: str, modules: Mapping[str, str]) -> Iterator[Import]:
    """What a module imports at run time: of the package by module name, from outside by full name."""

    def visit(node: ast.AST, at_once: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import: {ast.unparse(node)}"
            yield from (
                Import(_target(node.module or "", alias.name, modules), at_once) for alias in node.names
            )
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_once and not inside)

    yield from visit(ast.parse(source), True)


def _target(module: str, name: str, modules: Mapping[str, str]) -> str:
    """The module that `from module import name` reaches: a module of that name, else `module` itself."""
    if module != ROOT and not module.startswith(f"{ROOT}."):
        return f"{module}.{name}"
    inside = module.removeprefix(ROOT).removeprefix(".")
    longer = f"{inside}.{name}" if inside else name
    return f"{ROOT}.{longer if longer in modules else inside or ROOT}"


def part(module: str) -> str:
    """The part of the package that a module belongs to."""
    return module.split(".")[0]


def breaches(modules: Mapping[str, str]) -> list[str]:
    """Every import that the tables above forbid, in words."""
    found = [f"{name} is on no floor" for name in modules if part(name) not in FLOOR]
    for name, source in modules.items():
        for target, _ in imports(source, modules):
            top = part(target)
            if top == ROOT:
                if not may_use(name, target.removeprefix(f"{ROOT}.")):
                    found.append(f"{name} imports {target}")
            elif not _allowed_outside(name, top):
                found.append(f"{name} imports {target}")
    return found


def may_use(name: str, target: str) -> bool:
    """Whether one module of the package may import another."""
    room, other = part(name), part(target)
    if room == other:
        return room not in APART or name == target
    if room not in FLOOR or other not in FLOOR or FLOOR[other] >= FLOOR[room]:
        return False
    return other in NARROWER.get(room, FLOOR)


def _allowed_outside(name: str, top: str) -> bool:
    if top in sys.stdlib_module_names:
        return part(name) not in ("algorithms", "baselines") or top in STANDARD
    return top in OUTSIDE.get(name, OUTSIDE.get(part(name), {top}))


def cycles(modules: Mapping[str, str]) -> list[str]:
    """A circle of modules that import each other when they are imported, if there is one."""
    graph = {
        name: {i.target.removeprefix(f"{ROOT}.") for i in imports(source, modules) if i.at_once}
        for name, source in modules.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def jitted(modules: Mapping[str, str]) -> list[str]:
    """Modules other than the simulation that name a jit."""
    found = []
    for name, source in modules.items():
        nodes = list(ast.walk(ast.parse(source)))
        names = {getattr(node, "attr", None) or getattr(node, "id", None) for node in nodes}
        names |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
        if names & JIT and name not in JITTED:
            found.append(name)
    return found


def long_files(modules: Mapping[str, str]) -> list[str]:
    """Modules that are too long to read in one go, in words."""
    lengths = {name: len(source.splitlines()) for name, source in modules.items()}
    return [f"{name} has {length} lines" for name, length in lengths.items() if length > LONGEST_FILE]


def long_functions(modules: Mapping[str, str]) -> list[str]:
    """Functions that do not fit on a screen, in words."""
    found = []
    for name, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) is not None else 0)
                if length > LONGEST_FUNCTION:
                    found.append(f"{name}.{node.name} has {length} lines")
    return found


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


MODULES = sources()
EMPTY = dict.fromkeys(MODULES, "")


def test_no_module_imports_what_its_layer_must_not():
    assert breaches(MODULES) == []


def test_no_circular_imports():
    assert cycles(MODULES) == []


def test_only_the_simulation_is_jitted():
    assert jitted(MODULES) == []


def test_files_and_functions_are_short():
    assert long_files(MODULES) == []
    assert long_functions(MODULES) == []


def test_the_tables_name_only_what_exists():
    parts = {part(name) for name in MODULES}
    assert set(FLOOR) == parts
    assert set(NARROWER) | APART <= parts
    assert {part(name) for name in OUTSIDE} <= parts
    assert set(WITHOUT_JAX) <= set(MODULES)


def test_names_and_requests_are_resolved_without_jax():
    """One process imports the modules one after the other and names the first that brings JAX or TensorFlow in."""
    program = f"""
import importlib, sys
for name in {WITHOUT_JAX}:
    importlib.import_module("{ROOT}." + name)
    heavy = {{"jax", "jaxlib", "flax", "optax", "orbax", "tensorflow"}} & set(sys.modules)
    if heavy:
        sys.exit(f"{{name}} imports {{heavy}}")
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


# The gate itself is tested: a planted breach must be found.


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("algorithms.new", "from fedjax_sparse.algorithms import fedsparsify"),
        ("algorithms.new", "from fedjax_sparse.baselines.fedavg import fedavg"),
        ("algorithms.new", "from fedjax_sparse.data import partition"),
        ("algorithms.new", "def f():\n    import fedjax_sparse.models.mlp"),
        ("algorithms.new", "from pathlib import Path"),
        ("algorithms.new", "import flax"),
        ("algorithms.new", "from fedjax_sparse import simulate"),
        ("sparsity.new", "from fedjax_sparse.clients import executor"),
        ("data.partition", "import scipy.special"),
        ("results.new", "import jax"),
        ("results.new", "from fedjax_sparse import trees"),
        ("new", "import numpy"),
    ],
)
def test_a_planted_breach_is_found(name, source):
    assert len(breaches({**EMPTY, name: source})) == 1


def test_imports_for_type_checkers_are_free():
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import jax\n    from fedjax_sparse import config"
    assert breaches({**EMPTY, "data.partition": source}) == []


def test_a_planted_circle_is_found():
    assert cycles({"a": "from fedjax_sparse import b", "b": "import fedjax_sparse.a"}) != []
    assert cycles({"a": "from fedjax_sparse import b", "b": "def f():\n    import fedjax_sparse.a"}) == []


@pytest.mark.parametrize(
    "source", ["import jax\njax.jit(f)", "from jax import jit", "import jax as j\n@j.pmap\ndef f(): ..."]
)
def test_a_planted_jit_is_found(source):
    assert jitted({"clients.new": source}) == ["clients.new"]


def test_a_planted_long_file_is_found():
    assert long_files({"new": "x = 1\n" * LONGEST_FILE}) == []
    assert long_files({"new": "x = 1\n" * (LONGEST_FILE + 1)}) == [f"new has {LONGEST_FILE + 1} lines"]


def test_a_planted_long_function_is_found():
    docstring = '    """One.\n\n    Two.\n    """\n'
    body = "    x = 1\n" * (LONGEST_FUNCTION - 1)
    assert long_functions({"new": f"def f():\n{docstring}{body}"}) == []
    assert long_functions({"new": f"def f():\n{body}    x = 1\n"}) == [
        f"new.f has {LONGEST_FUNCTION + 1} lines"
    ]
    nested = "    def g():\n        def h(): ...\n" + body
    assert long_functions({"new": f"def f():\n{nested}"}) == [f"new.f has {LONGEST_FUNCTION + 2} lines"]
