"""The report: one file with everything in it, and nothing that comes from elsewhere or is not escaped."""

import base64
import re
from html.parser import HTMLParser

import pytest
import tomli_w

from fedjax_sparse.cli.commands import main
from fedjax_sparse.errors import UsageError
from fedjax_sparse.results import html, report
from tests.results import recorded

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one opened; keeps the text and what is loaded."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.loaded = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open += [] if tag in VOID else [tag]
        self.loaded += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(file):
    parser = Balanced()
    parser.feed(file.read_text(encoding="utf-8"))
    assert parser.open == []
    assert all(value.startswith("data:image/png;base64,") for value in parser.loaded)
    assert all(base64.b64decode(value[22:]).startswith(b"\x89PNG") for value in parser.loaded)
    return " ".join(" ".join(parser.text).split()), len(parser.loaded)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A dense run and a sparse one of two seeds, of which nothing says that it has ended."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        recorded.write(folder / "dense", [recorded.rows(range(0, 11, 2), sparse=False)], rounds=10),
        recorded.write(
            folder / "sparse",
            [recorded.rows(range(0, 11, 2), offset) for offset in (0, 0.02)],
            "fedsparsify-global",
            seeds=(3, 4),
            status="interrupted after round 10",
            rounds=10,
            sparsity=0.95,
            client_nesterov=True,
        ),
    ]


def test_a_report_holds_what_is_to_be_known_of_runs(runs, tmp_path):
    text, pictures = read(report.write(runs, tmp_path / "new" / "report.html"))
    # Accuracy by round and by bytes, losses, densities, costs, the layers of one, who holds what.
    assert pictures == 7
    for words in (
        "fedavg and fedsparsify-global",
        "fedsparsify-global, seed 4: interrupted after round 10",
        "fedsparsify-global: --client-nesterov has no effect with --client-momentum 0",
        "10 MB 25 MB 35 MB 20 G 20 G 100 %",  # costs
        "10 MB 25 MB 35 MB 10 G 20 G 50 %",
        "sparsity – 0.95 0.9",
        "rounds 10 10 60",
        "seed 0 3 0",
        "seeds 1 2 1",
        "fedjax-sparse run fedavg --note <b>&",
        "1 × cpu",
    ):
        assert words in text, words


def test_where_defaults_differ_each_is_its_run_s(tmp_path):
    folders = [
        recorded.write(tmp_path / name, [recorded.rows(range(5))], name, cohort_size=5, figures=False)
        for name in ("fedavg", "dispfl")
    ]
    text, _ = read(report.write(folders, tmp_path / "report.html"))
    assert "cohort_size 5 5 fedavg: 10, dispfl: all" in text
    assert "figures" not in text.split("Configuration")[1]


def test_the_command_says_where_the_report_is(runs, capsys):
    assert main(["report", str(runs[0])]) == 0
    assert capsys.readouterr().out == f"{runs[0] / 'report.html'}\n"
    text, pictures = read(runs[0] / "report.html")
    assert (pictures, "Noted" in text) == (6, False)


def test_a_comparison_has_its_table_and_what_failed_in_it(tmp_path):
    head = {"algorithms": ["fedavg", "fedsparsify-global"], "sparsities": [0.8, 0.9], "reference": "fedavg"}
    (tmp_path / "comparison.toml").write_text(tomli_w.dumps({"comparison": head}))
    recorded.write(tmp_path / "fedavg", [recorded.rows(range(5), sparse=False)], status="finished")
    recorded.write(
        tmp_path / "fedsparsify-global-0.8", [recorded.rows(range(5))], "fedsparsify-global", sparsity=0.8
    )
    text, pictures = read(report.write([tmp_path], tmp_path / "report.html"))
    assert "Comparison of 3 runs" in text
    assert "− fedavg" in text
    assert "Test accuracy by round" in text
    assert pictures > 4


def test_the_figures_of_a_comparison_say_which_run_or_sparsity_they_show(tmp_path):
    head = {"algorithms": ["fedsparsify-global"], "sparsities": [0.8, 0.9]}
    (tmp_path / "comparison.toml").write_text(tomli_w.dumps({"comparison": head}))
    for sparsity in (0.8, 0.9):
        name = f"fedsparsify-global-{sparsity}"
        recorded.write(tmp_path / name, [recorded.rows(range(5))], "fedsparsify-global", sparsity=sparsity)
    page = report.write([tmp_path], tmp_path / "report.html").read_text(encoding="utf-8")
    curves = ("Test accuracy by round", "Test accuracy by bytes sent over both links")
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == [
        *(f"{caption}, sparsity {sparsity}" for sparsity in (0.8, 0.9) for caption in curves),
        "Test accuracy by sparsity",
        "Who holds what",
        "What the runs cost",
        *(f"Which layers keep what: fedsparsify-global-{sparsity}" for sparsity in (0.8, 0.9)),
    ]


def test_what_cannot_be_reported_is_refused(runs, tmp_path, capsys):
    assert main(["report"]) == 2
    assert "name at least one run folder: fedjax-sparse report RUN..." in capsys.readouterr().err
    with pytest.raises(UsageError, match="is not a run folder"):
        report.write([tmp_path], tmp_path / "report.html")
    with pytest.raises(UsageError, match="cannot write"):
        report.write(runs[:1], tmp_path)
    (tmp_path / "comparison.toml").write_text('[comparison]\nalgorithms = ["fedavg"]\n')
    with pytest.raises(UsageError, match="no run has recorded anything yet"):
        report.write([tmp_path], tmp_path / "report.html")


def test_everything_shown_is_escaped():
    evil = '<script>alert(1)</script>&"'
    text = html.page(
        evil, [*html.table([evil], [[evil]]), html.listed([evil]), *html.pictures([(b"", evil)])]
    )
    assert "<script" not in text
    assert len(re.findall("&lt;script&gt;", text)) == 7
