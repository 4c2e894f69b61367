"""The papers' figures from scripts, and the claims that they are to show. Files only, no JAX.

**A script is its cases and a figure.** This one is whole:

    \"\"\"FLARE, figure 3: accuracy against the share of entries that clients send.\"\"\"

    import sys
    from pathlib import Path

    from fedjax_sparse.cli import reproducing
    from fedjax_sparse.reproduction import charts
    from fedjax_sparse.reproduction.cases import Settings, case
    from fedjax_sparse.reproduction.reproducing import Reproduction
    from fedjax_sparse.reproduction.verdicts import Verdict, above, points_apart
    from fedjax_sparse.results.drawing import Quantity

    FILES = Path(__file__).parents[1] / "experiments"
    SETTINGS = Settings(FILES / "smoke.toml", FILES / "flare/mnist_cpu.toml", FILES / "flare/mnist_fc.toml")
    KEPT = {"smoke": [1.0], "cpu": [0.1, 0.01, 0.001], "paper": [0.1, 0.01, 0.001, 0.0001]}  # percent

    def cases(scale):
        options = SETTINGS.options(scale)
        yield case("dense", "fedavg", options)                       # stands nowhere: a line across
        for percent in KEPT[scale]:
            yield case("FLARE", "flare", options, at=percent / 100, keep_percent=percent)

    def picture(results):
        return charts.picture(results, charts.sweep(results, Quantity("Entries sent", "%", "log")))

    def judge(results):
        apart = results.difference("FLARE", "dense", at=...)
        return Verdict(above(apart, -0.01), f"FLARE is {points_apart(apart)} dense")

    REPRODUCTION = Reproduction(
        "flare_sweep", "FLARE, figure 3: ...", cases, picture, "sparsity 10 times beyond ...", judge,
        published=(FILES / "published/flare.toml", "sweep"),
    )

    if __name__ == "__main__":
        sys.exit(reproducing.main(REPRODUCTION, about=__doc__))

`python scripts/NAME.py --scale smoke --out DIR` then runs what DIR/runs does not hold yet, resumes what was stopped,
writes NAME.png, NAME.pdf and NAME.csv, and ends with the verdict; with `--no-run` it draws what there is.
`scripts/reproduce.py` finds every script that has a `REPRODUCTION`, and needs no entry.

* **Runs are shared.** The folder of a run follows from its configuration (`Case.folder`): figures that ask for the
  same run have it once. Use `experiments/smoke.toml` at the smoke scale, with few further cases: each is compiled.
* **Scales.** `smoke` proves that the script works, in seconds; its verdict is no evidence. `cpu` has the same shape of
  result in at most 20 minutes on two cores. `paper` is the paper's setting, from the files under `experiments/`.
* **Rates.** Where methods need rates of their own, `tuned={"cpu": FILES / "x_tuned.toml"}` names the winners.toml of a
  `fedjax-sparse sweep`, which all had with the same budget; its [sweep] table says how it was made.
* **Charts.** `charts.sweep` is a score over `Case.at`, `charts.curves` any recorded columns over rounds, bytes or
  FLOPs, with a panel for each `Case.panel`; several lists of them go into one `charts.picture`. A column that is not
  recorded but follows from others is added by `Results.with_column`.
* **Published numbers** lie in `experiments/published/PAPER.toml`, each with its source and setting; `published` says
  how a table looks. They are matched by panel, series and x. On other data than ours they are shown and not compared;
  in what else the settings differ is said by itself.
* **Verdicts** are computed from `Results.scores` and `Results.difference`, over seeds, by `verdicts`: what lies within
  the 95 % interval of a difference is not decided. A figure of which a run is missing is drawn, and not judged:
  `judge` finds a result at every place. Methods that are told a bound of their density stand at what they reached
  (`sparsities`), and are rivals only where that is the sparsity asked for.
"""
