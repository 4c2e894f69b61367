"""A partition drawn without a run: the numbers are those that a run would record."""

import csv

from fedjax_sparse.cli.commands import main


def test_the_figure_shows_what_each_client_would_hold(tmp_path, capsys):
    flags = ["--partition", "shards", "--classes-per-client", "2", "--clients", "10", "--out"]
    assert main(["partition", *flags, str(tmp_path / "figures")]) == 0
    files = [tmp_path / "figures" / f"clients.{kind}" for kind in ("png", "pdf", "csv")]
    assert capsys.readouterr().out.split() == [*map(str, files)]
    with files[2].open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 10
    assert sum(int(row["examples"]) for row in rows) == 1437
    assert all(sum(int(row[f"class_{k}"]) > 0 for k in range(10)) <= 4 for row in rows)


def test_other_partitions_go_into_other_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags in (["--alpha", "1"], ["--clients", "7", "--partition-seed", "1"]):
        assert main(["partition", "--partition", "dirichlet", *flags]) == 0
    assert {folder.name for folder in tmp_path.iterdir()} == {
        "partition-digits-dirichlet-1.0-20-clients-seed-0",
        "partition-digits-dirichlet-0.3-7-clients-seed-1",
    }


def test_what_cannot_be_dealt_is_refused_in_one_line(tmp_path, capsys):
    assert main(["partition", "--partition", "dirichle"]) == 2
    assert "unknown --partition 'dirichle'; did you mean 'dirichlet'?" in capsys.readouterr().err
    assert main(["partition", "--rounds", "5"]) == 2
    assert "unknown argument '--rounds' (fedjax-sparse partition --help" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["partition", "--out", str(tmp_path / "file")]) == 2
    assert f"cannot write figures to {tmp_path / 'file'}" in capsys.readouterr().err
