"""The command line: what it asks the library for, what it prints, and how it refuses."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from fedjax_sparse.cli import commands
from fedjax_sparse.config import registry, run_config
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.errors import RunError


def refused(args, capsys):
    """The single line with which a wrong request is refused."""
    assert commands.main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *_going_on, error = captured.err.splitlines()
    assert "error" not in "".join(_going_on)
    assert error.startswith("fedjax-sparse: error: ")
    return error.removeprefix("fedjax-sparse: error: ")


def helped(args, capsys):
    """The help text, with its layout taken out."""
    assert commands.main([*args, "--help"]) == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        'rounds = 7\nlocal_steps = 5\n[algorithm]\nname = "fedsparsify-global"\nsparsity = 0.5\nexponent = 2\n'
    )
    return path


# What a request means.


def test_without_flags_the_defaults_are_run():
    assert commands.configuration(["fedavg"]) == configure("fedavg")


def test_flags_of_the_run_and_of_the_algorithm_stand_side_by_side():
    args = (
        "fedsparsify-global --sparsity 0.8 --layerwise --rounds=3 --chunk 4 --clip_norm 1 --cohort-size all"
    )
    assert commands.configuration(args.split()) == configure(
        "fedsparsify-global",
        sparsity=0.8,
        layerwise=True,
        rounds=3,
        chunk=4,
        clip_norm=1.0,
        cohort_size="all",
    )


def test_flags_win_over_the_file(file):
    assert commands.configuration(["--config", str(file), "--rounds", "9", "--sparsity=0.6"]) == configure(
        "fedsparsify-global", rounds=9, local_steps=5, sparsity=0.6, exponent=2
    )


def test_a_flag_wins_even_where_it_states_the_default(file):
    assert commands.configuration(["--config", str(file), "--rounds", "60"]).training.rounds == 60
    assert commands.configuration(["--config", str(file), "--local-epochs", "2"]).training.local_steps is None


def test_none_undoes_a_value_of_the_file(file):
    assert (
        commands.configuration(["--config", str(file), "--local-steps", "none"]).training.local_steps is None
    )


def test_the_file_may_configure_another_algorithm(file, capsys):
    assert commands.configuration(["fedavg", f"--config={file}"]) == configure(
        "fedavg", rounds=7, local_steps=5
    )
    assert "[algorithm]" in capsys.readouterr().err


def test_every_option_can_be_given_as_a_flag():
    configured = configure(
        "fedsparsify-global", local_steps=4, clip_norm=0.5, data_dir="d", cache_dir="c", out="o"
    )
    args = ["fedsparsify-global"]
    for stated in run_config.to_toml_dict(configured).values():
        for name, value in stated.items():
            if name != "name" and not isinstance(value, bool):
                args += [f"--{name.replace('_', '-')}", str(value)]
    assert commands.configuration(args) == configured


# Help.


@pytest.mark.parametrize("name", registry.algorithms())
def test_help_shows_every_hyperparameter_with_range_default_and_paper_value(name, capsys):
    text = helped(["run", name], capsys)
    for option in declared_options(registry.entry(name).hyperparameters):
        note = "; ".join(
            [
                option.help,
                *([f"in {option.allowed}"] if option.allowed else []),
                *([f"paper: {option.paper}"] if option.paper else []),
            ]
        )
        assert option.flag in text
        shown = "none" if option.default is None else option.default
        assert f"{note} (default: {shown})" in text


def test_help_shows_every_option_of_a_run(capsys):
    text = helped(["run"], capsys)
    assert "fedsparsify-global" in text
    for option in run_config.run_options():
        assert option.flag in text
        assert option.help in text


@pytest.mark.parametrize("command", [[], *([name] for name in commands.COMMANDS if name != "run")])
def test_every_command_has_help(command, capsys):
    assert "usage: fedjax-sparse" in helped(command, capsys)


# Refusals.


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("rn", "unknown command 'rn'; did you mean 'run'?"),
        (
            "import",
            "unknown command 'import' (allowed: cite, compare, export, list, partition, plot, prepare, report, resume",
        ),
        ("export RUN --format pickle", "invalid choice 'pickle' for argument '--format'. Expected one of"),
        (
            "export RUN --format sparse --checkpoint newest",
            "--checkpoint = 'newest' is not valid; allowed: last, best, or the round of a checkpoint",
        ),
        ("run FEDAVG", "unknown algorithm 'FEDAVG'; did you mean 'fedavg'?"),
        ("run fedavg --sparsity 0.5", "unknown argument '--sparsity' (fedjax-sparse run fedavg --help"),
        ("run", "name an algorithm: fedjax-sparse run ALGORITHM, or [algorithm] in the --config FILE.toml"),
        ("run fedagv", "unknown algorithm 'fedagv'; did you mean 'fedavg'?"),
        (
            "run fedsparsify-global --sparsiti 0.5",
            "unknown argument '--sparsiti'; did you mean '--sparsity'?",
        ),
        ("run fedsparsify-global --sparsity 1.0", "--sparsity = 1.0 is out of range; allowed: [0, 1)"),
        ("run fedsparsify-global --sparsity nan", "--sparsity = nan is not valid; allowed: a finite number"),
        ("run fedsparsify-global --sparsity", "Missing value for argument '--sparsity'."),
        ("run fedavg more", "unknown argument 'more'"),
        ("run fedavg --rounds x", "--rounds = 'x' is not valid; allowed: int"),
        ("run fedavg --rounds 1.5", "--rounds = '1.5' is not valid; allowed: int"),
        ("run fedavg --rounds none", "--rounds = 'none' is not valid; allowed: int"),
        ("run fedavg --chunk many", "--chunk = 'many' is not valid; allowed: int | auto"),
        ("run fedavg --weighting examle", "unknown --weighting 'examle'; did you mean 'examples'?"),
        ("run fedavg --model mpl", "unknown --model 'mpl'; did you mean 'mlp'?"),
        ("run fedavg --clients 5 --cohort-size 10", "--cohort-size = 10 is more than --clients = 5"),
        ("run fedavg --local-epochs 2 --local-steps 3", "--local-epochs = 2 and --local-steps = 3 exclude"),
        ("run --config none.toml", "cannot read none.toml: No such file or directory"),
        ("run --config", "name an algorithm: "),
        ("run fedavg --config", "Missing value for argument '--config'."),
        ("run fedavg --seed -1", "--seed = -1 is out of range; allowed: [0, 2147483647]"),
        ("run fedavg --client-lr -1e-3", "--client-lr = -0.001 is out of range; allowed: (0, inf)"),
        ("list", "Missing from fedjax-sparse list"),
        ("list algoritms", "unknown list 'algoritms'; did you mean 'algorithms'?"),
        ("list models --jason", "unknown argument '--jason'; did you mean '--json'?"),
        ("plot", "name at least one run folder"),
        ("resume", "Missing from fedjax-sparse resume: RUN"),
        ("cite", "Missing from fedjax-sparse cite: RUN"),
        ("cite nowhere", "nowhere is not a run folder: it holds no config.toml"),
        ("prepare mnist", "Missing from fedjax-sparse prepare: --out"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(args, message, capsys):
    assert refused(args.split(), capsys).startswith(message)


def test_a_wrong_key_is_refused_with_its_file(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text('round = 3\n[algorithm]\nname = "fedavg"\n')
    message = refused(["run", "--config", str(path)], capsys)
    assert message.startswith(f"{path}: unknown option of fedavg 'round'; did you mean 'rounds'?")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rounds = 3", "name an algorithm: "),
        (
            'augment = "yes"\n[algorithm]\nname = "fedavg"',
            "{path}: --augment = 'yes' is not valid; allowed: bool",
        ),
        ('rounds = [3]\n[algorithm]\nname = "fedavg"', "{path}: --rounds = [3] is not valid; allowed: int"),
        ('[algorithm]\nname = "fedagv"', "unknown algorithm 'fedagv'; did you mean 'fedavg'?"),
        ("rounds = 3\nrounds = 4", "{path} is not a TOML file: "),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(content, message, tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text(content)
    assert refused(["run", "--config", str(path)], capsys).startswith(message.format(path=path))


def test_a_failed_run_exits_with_one(monkeypatch, capsys):
    def fail(args):
        raise RunError("diverged\nin round 3")

    monkeypatch.setitem(commands.COMMANDS, "run", commands.Command("", "", fail))
    assert commands.main(["run"]) == 1
    assert capsys.readouterr().err == "fedjax-sparse: error: diverged in round 3\n"


def test_an_unforeseen_error_shows_its_traceback_only_when_asked(monkeypatch, capsys):
    def fail(args):
        raise ZeroDivisionError("by zero")

    monkeypatch.setitem(commands.COMMANDS, "run", commands.Command("", "", fail))
    assert commands.main(["run"]) == 1
    assert capsys.readouterr().err == "fedjax-sparse: error: ZeroDivisionError: by zero\n"
    monkeypatch.setenv("FEDJAX_SPARSE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        commands.main(["run"])


def test_an_interrupt_exits_with_130(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setitem(commands.COMMANDS, "run", commands.Command("", "", interrupt))
    assert commands.main(["run"]) == 130
    assert capsys.readouterr().err == "fedjax-sparse: error: interrupted\n"


# The small commands.


@pytest.mark.parametrize(
    ("what", "name"),
    [("algorithms", "fedavg"), ("datasets", "digits"), ("models", "mlp"), ("partitions", "iid")],
)
def test_lists_name_and_describe(what, name, capsys):
    assert commands.main(["list", what, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert name in [row["name"] for row in rows]
    assert all(row["description"] and "\n" not in row["description"] for row in rows)
    assert commands.main(["list", what]) == 0
    assert capsys.readouterr().out.count("\n") == len(rows)


def test_the_list_of_models_names_their_options(capsys):
    assert commands.main(["list", "models"]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert said["mlp"].endswith("; options: hidden=128x128, init=own|glorot|he|lecun|torch")
    assert "norm=batch|group|none, hidden=SIZES" in said["vgg11"]
    assert commands.main(["list", "models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["gru"]["options"] == {
        "embedding": 256,
        "hidden": 1024,
        "init": ["own", "glorot", "he", "lecun", "torch"],
    }
    assert rows["gru"]["task"] == "text"


def test_the_list_of_algorithms_names_papers_states_and_messages(capsys):
    assert commands.main(["list", "algorithms", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert all(row["paper"] and row["year"] > 1990 for row in rows.values())
    assert rows["fedavg"]["url"] == "https://arxiv.org/abs/1602.05629"
    assert (
        rows["ef-signsgd"]["paper"] == "Error Feedback Fixes SignSGD and other Gradient Compression Schemes"
    )
    said = [rows["dispfl"][key] for key in ("year", "state", "up")]
    assert said == [2022, "clients", "its living entries, and its mask"]
    for name, row in rows.items():
        assert "nothing" not in (row["up"], row["down"]) or not registry.entry(name).communicates


def test_the_list_says_what_is_reconstructed(capsys):
    assert commands.main(["list", "algorithms"]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert said["sparse-proxskip"].endswith("(reconstructed)")
    assert said["sparsyfed"].endswith("(reconstructed: --beta spectral)")
    assert "reconstructed" not in said["scaffnew"]


def test_cite_prints_the_references_of_the_run(tmp_path, capsys):
    (tmp_path / "seed_3").mkdir()
    (tmp_path / "seed_3" / "config.toml").write_text('rounds = 3\n[algorithm]\nname = "fedsparsify-global"\n')
    assert commands.main(["cite", str(tmp_path)]) == 0
    assert "arXiv:2204.12430" in capsys.readouterr().out


def test_version(capsys):
    assert commands.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fedjax-sparse {commands.__version__}\n"


# A whole run.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a short run on embedded data."""
    out = tmp_path_factory.mktemp("cli") / "run"
    args = f"run random-pruning --sparsity 0.5 --model softmax --out {out}"
    small = "--rounds 2 --clients 4 --cohort-size 2 --local-steps 1"
    assert commands.main([*args.split(), *small.split()]) == 0
    return out


def test_a_run_records_what_was_typed_and_what_came_of_it(finished):
    configured = run_config.from_toml_dict(run_config.read(finished / "config.toml"))
    assert configured.hyper == configure("random-pruning", sparsity=0.5).hyper
    assert (configured.training.rounds, configured.training.local_steps, configured.partition.clients) == (
        2,
        1,
        4,
    )
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["command"][:3] == ["fedjax-sparse", "run", "random-pruning"]
    last = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["round"] == 2
    assert last["density"] == pytest.approx(0.5, abs=1e-3)


def test_a_folder_is_not_run_into_twice(finished, capsys):
    before = (finished / "metrics.jsonl").read_bytes()
    assert str(finished) in refused(["run", "fedavg", "--out", str(finished)], capsys)
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_a_finished_run_can_be_plotted_cited_and_resumed_to_no_effect(finished, tmp_path, capsys):
    before = (finished / "metrics.jsonl").read_bytes()
    assert commands.main(["plot", str(finished), "--out", str(tmp_path / "figures")]) == 0
    assert any((tmp_path / "figures").iterdir())
    assert commands.main(["cite", str(finished)]) == 0
    assert "stripelis2022fedsparsify" in capsys.readouterr().out
    assert commands.main(["resume", str(finished)]) == 0
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_resume_needs_a_run(tmp_path, capsys):
    assert str(tmp_path) in refused(["resume", str(tmp_path)], capsys)


def test_a_data_set_that_is_not_there_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    message = refused(["run", "fedavg", "--dataset", "mnist", "--data-dir", str(tmp_path)], capsys)
    assert message.startswith("mnist: ")
    assert str(tmp_path) in message
    assert not any(tmp_path.iterdir())  # no run folder is left behind


# As a process.


def run_process(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "fedjax_sparse", *args], capture_output=True, text=True, check=False, **options
    )


def test_help_and_refusals_need_no_jax(tmp_path):
    (tmp_path / "jax.py").write_text("raise RuntimeError('JAX was imported')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for args, code in (
        (["--help"], 0),
        (["run", "fedavg", "--help"], 0),
        (["run", "fedavg", "--rounds", "0"], 2),
    ):
        process = run_process(*args, env=environment)
        assert (process.returncode, "JAX was imported" in process.stderr) == (code, False)


def test_a_run_says_what_it_is_before_jax_is_there(tmp_path):
    (tmp_path / "jax.py").write_text("raise RuntimeError('JAX was imported')")
    process = run_process("run", "fedavg", "--rounds", "7", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert process.stderr.splitlines()[:2] == ["fedavg on digits, 7 rounds", "starting JAX"]
    assert "JAX was imported" in process.stderr


def test_what_a_terminal_cannot_show_is_written_by_its_number():
    process = run_process("cite", "ü", env=os.environ | {"PYTHONIOENCODING": "ascii:strict"})
    assert (process.returncode, process.stderr.count("\n")) == (2, 1)
    assert r"\xfc is not a run folder" in process.stderr
    process = run_process("cite", b"\xff")
    assert (process.returncode, process.stderr) == (
        2,
        "fedjax-sparse: error: argument '\\udcff' is not UTF-8\n",
    )


def test_a_reader_that_leaves_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.closing(os.fdopen(writing, "w")) as pipe:
        command = [sys.executable, "-m", "fedjax_sparse", "list", "models"]
        process = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (process.returncode, process.stderr) == (1, "")


@pytest.mark.filterwarnings("default")
def test_what_has_no_effect_and_what_is_lost_is_said_in_a_line_each(tmp_path, capsys):
    flags = [
        "--cohort-size",
        "2",
        "--clients",
        "4",
        "--local-steps",
        "3",
        "--rounds",
        "1",
        "--model",
        "softmax",
    ]
    assert commands.main(["run", "scaffnew", *flags, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert "padding: " not in said  # it draws the numbers of local steps itself
    notes = [line for line in said.splitlines() if ": note: " in line]
    assert notes[0] == "fedjax-sparse: note: --local-steps has no effect on scaffnew"
    assert notes[1].startswith("fedjax-sparse: note: control variates with partial participation")
    assert len(notes) == 2


def test_options_without_effect_and_a_second_file_are_noted(tmp_path, capsys):
    for name, text in (("one.toml", "rounds = 7"), ("two.toml", "rounds = 8\nalpha = 0.2")):
        (tmp_path / name).write_text(text)
    files = [f"--config={tmp_path / 'one.toml'}", "--config", str(tmp_path / "two.toml")]
    assert commands.configuration(["fedavg", *files, "--client-nesterov"]).training.rounds == 8
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"fedjax-sparse: note: --config {tmp_path / 'one.toml'} is not read, "
        f"since --config {tmp_path / 'two.toml'} comes after it",
        "fedjax-sparse: note: --alpha has no effect with --partition iid",
        "fedjax-sparse: note: --client-nesterov has no effect with --client-momentum 0.0",
    ]
