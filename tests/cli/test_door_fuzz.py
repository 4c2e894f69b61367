"""Whatever is typed, configured or handed over as data, the door answers in one line and leaves nothing behind."""

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from fedjax_sparse.cli import commands
from fedjax_sparse.config import registry
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.config.run_config import HOMES, SECTIONS, changed
from fedjax_sparse.data import cache, datasets
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments import building, runs

pytestmark = pytest.mark.filterwarnings("ignore")
fuzzed = settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],  # what is found is short enough: shrinking it takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

ALGORITHMS = ["fedavg", "fedsparsify-global", "flare", "sparsyfed", "scaffnew"]
OPTIONS = {
    option.name: option
    for cls in (*SECTIONS.values(), *(registry.entry(name).hyperparameters for name in ALGORITHMS))
    for option in declared_options(cls)
}
NUMBERS = ["0", "-1", "1", "7", "0.5", "1e400", "nan", "-inf", "1_0", "2147483648", "9" * 30, "9" * 5000]
WORDS = [
    "",
    "none",
    "auto",
    "all",
    "true",
    "natural",
    "dirichlet",
    "ü",
    "../x",
    "a\nb",
    "x" * 300,
    "-",
    "--",
    "[]",
]
FORMS = [
    *(
        "mlp:hidden=0",
        "mlp:hidden=1x99999999999",
        "gru",
        "linear",
        "resnet18:norm=",
        "auto:x=1",
        ":",
        "mlp:init=he",
    ),
    *(
        "step:0.5@1,2",
        "cosine:",
        "exponential:0.1@" + "9" * 40,
        "3-of-2",
        "synthetic/linear",
        "none.npz",
        "digits/",
    ),
]
LETTERS = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
VALUES = st.sampled_from(NUMBERS + WORDS + FORMS) | st.text(LETTERS, max_size=8)
NAMES = st.sampled_from([*OPTIONS]) | st.sampled_from(["config", "help", "Rounds", "sparsiti", ""])


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command, a name for it, and flags of which some have their values."""
    words = [draw(st.sampled_from([*commands.COMMANDS, "export", "--version", "RUN"]))]
    if words == ["run"]:
        words.append(draw(st.sampled_from([*ALGORITHMS, "FEDAVG", "--rounds"])))
    for name in draw(st.lists(NAMES, max_size=3)):
        joint, flag = draw(st.sampled_from(["=", " ", ""])), f"--{name.replace('_', '-')}"
        value = draw(VALUES)
        words += [f"{flag}={value}"] if joint == "=" else [flag, value] if joint else [flag]
    return words


TOML_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | VALUES | st.sampled_from([10**40, 1, 0.5, "a\0b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(VALUES, inner, max_size=2),
    max_leaves=4,
)
TABLES = st.dictionaries(NAMES, TOML_VALUES, max_size=3)
IN_SECTIONS = TABLES.map(
    lambda table: {HOMES.get(name, "training"): {name: value} for name, value in table.items()}
)
ALGORITHM = st.fixed_dictionaries({"name": st.sampled_from(ALGORITHMS) | TOML_VALUES}) | TABLES


@pytest.fixture(scope="module")
def decoded(tmp_path_factory) -> Path:
    """A cache of decoded data, wherever the requests say that it is."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def door(monkeypatch, decoded) -> None:
    """Runs end once their data are dealt to clients: what comes after is no longer the door."""

    def build(config, initial):
        dataset = building._as_configured(building._load(config.data), config.data)
        clients = len(building.make_population(dataset, config.partition).count)
        changed(config, model=building._model_name(config.data, dataset), clients=clients)
        raise UsageError("as far as the door goes")

    monkeypatch.setattr(runs, "build", build)
    monkeypatch.setattr(runs, "joined", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(cache, "folder", lambda *_: decoded)


def check(args: list[str], given: dict[str, bytes] | None = None) -> None:
    """Answers a command line in an empty folder, or one with the files given, and looks at what is left."""
    files, before = given or {}, Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            for name, content in files.items():
                Path(name).write_bytes(content)
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = commands.main(args)
        finally:
            os.chdir(before)
        assert {path.name for path in Path(folder).iterdir()} == files.keys()
    errors = [line for line in err.getvalue().splitlines() if "fedjax-sparse: error: " in line]
    assert code in (0, 2), err.getvalue()
    assert len(errors) == (code == 2), err.getvalue()
    assert not re.search(r"Traceback|error: \w+(Error|Exception)\b|pickle", err.getvalue()), err.getvalue()


@fuzzed
@given(args=command_lines())
def test_any_command_line(door, args):
    check(args)


@fuzzed
@given(table=TABLES | IN_SECTIONS, algorithm=ALGORITHM)
def test_any_configuration(door, table, algorithm):
    content = tomli_w.dumps({**table, "algorithm": algorithm}).encode()
    check(["run", "--config", "run.toml"], {"run.toml": content})


@fuzzed
@given(
    content=st.binary(max_size=40) | st.text(LETTERS, max_size=40).map(str.encode),
    name=st.sampled_from(["run.toml", "own.npz", "own.svm"]),
)
def test_any_file(door, content, name):
    flag = "--config" if name == "run.toml" else "--dataset"
    magic = b"PK\x03\x04" if name == "own.npz" else b""
    check(["run", "fedavg", flag, name], {name: magic + content})


KINDS = st.one_of(
    arrays_of.scalar_dtypes(),
    arrays_of.unicode_string_dtypes(max_len=2),
    arrays_of.byte_string_dtypes(max_len=2),
)
ARRAYS = KINDS.flatmap(
    lambda kind: arrays_of.arrays(
        kind, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)
ROLES = ("x_train", "y_train", "x_test", "y_test", "client_train", "X", "y")


@fuzzed
@given(arrays=st.dictionaries(st.sampled_from(ROLES), ARRAYS), cut=st.integers(0, 400) | st.none())
def test_any_arrays(door, arrays, cut):
    file = io.BytesIO()
    np.savez(file, **arrays)
    check(
        ["run", "fedavg", "--dataset", "own.npz", "--clients", "1", "--cohort-size", "1"],
        {"own.npz": file.getvalue()[:cut]},
    )


@fuzzed
@given(
    x=arrays_of.arrays(
        arrays_of.scalar_dtypes(), arrays_of.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=3)
    ),
    kind=KINDS,
    data=st.data(),
)
def test_any_examples_with_their_labels(door, x, kind, data):
    """Arrays that belong together are a data set, or refused."""
    y = data.draw(arrays_of.arrays(kind, len(x)))
    file = io.BytesIO()
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    with tempfile.NamedTemporaryFile(suffix=".npz") as saved:
        saved.write(file.getvalue())
        saved.flush()
        with contextlib.suppress(UsageError):
            assert len(datasets.load(saved.name).y_train) == len(x)
