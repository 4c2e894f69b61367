"""What the documents say is so: the README's Python runs, its links lead somewhere, its tables are complete."""

import re
from pathlib import Path

import pytest

from fedjax_sparse.config import bibliography, registry
from fedjax_sparse.costs.networks import NETWORKS

ROOT = Path(__file__).parents[1]
# Pages of the site, see docs/generate.py.
GENERATED = {"algorithms.md", "command_line.md", "api/index.md", "notebooks/01_quickstart.md"}
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_library_example_runs_as_printed(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        _, accuracy, density, uplink = line.split()
        assert float(accuracy) > 0.8
        assert float(density) == pytest.approx(0.1, abs=1e-3)
        assert int(uplink) > 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        there = target in GENERATED or (document.parent / target).exists()
        assert there or target.startswith("https://"), target


@pytest.mark.parametrize("entry", registry.algorithms().values(), ids=lambda entry: entry.name)
def test_the_readme_lists_every_algorithm_with_its_paper(entry):
    table = (ROOT / "README.md").read_text().split("<!-- algorithms -->")[1]
    rows = [line for line in table.splitlines() if line.startswith(f"| `{entry.name}`")]
    assert len(rows) == 1
    paper = bibliography.paper(entry)
    assert f"| [{paper.author} {paper.year}]({paper.url}) |" in rows[0]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 6
    assert rows[0].endswith(f"| {entry.status} |" if entry.status else "| |")


def test_the_page_of_networks_lists_every_network_with_its_numbers():
    text = (ROOT / "docs" / "networks.md").read_text()
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|[^|]*\|$", text, flags=re.MULTILINE))
    assert rows.keys() == NETWORKS.keys()
    for name, known in NETWORKS.items():
        if len(known.network.tiers) == 1:
            (tier,) = known.network.tiers
            numbers = [float(cell) for cell in rows[name].split("|")]
            assert numbers == [tier.downlink_mbps, tier.uplink_mbps, tier.latency_ms], name
