# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Head to head, and figures
#
# Algorithms are compared under the same data, partition, cohorts, initial weights and seeds. This is the command
# line, called from Python: in a terminal it is `fedjax-sparse compare fedavg fedsparsify-global ...`.

# %%
import tempfile
from pathlib import Path

from IPython.display import Image, Markdown, display

import fedjax_sparse as fs
from fedjax_sparse.cli.commands import main
from fedjax_sparse.results import figures

here = Path(tempfile.mkdtemp())

# %%
asked = "fedavg fedsparsify-global --sparsities 0.9 --reference fedavg --seeds 2 --rounds 12 --eval-every 3"
small = "--clients 10 --cohort-size 5 --model mlp:hidden=16 --no-figures"
main(["compare", *asked.split(), *small.split(), "--out", str(here / "table")])

# %% [markdown]
# The table has means over seeds with their 95 % intervals, and differences to the reference taken seed by seed. Two
# seeds and twelve rounds show the form of an answer, and not one.

# %%
display(Markdown((here / "table" / "table.md").read_text()))

# %% [markdown]
# Each run is an ordinary run folder. `fedjax-sparse plot RUN...`, or this, draws any of them together, with the
# numbers of each figure as CSV.

# %%
runs = [here / "table" / name for name in ("fedavg", "fedsparsify-global-0.9")]
figures.plot(runs, here / "figures")
for name in ("accuracy_by_bytes", "costs", "layers_2"):
    display(Image(here / "figures" / f"{name}.png", width=640))

# %% [markdown]
# From Python a run is a table of columns, which `pandas.DataFrame` takes as it is, and a model that predicts; and
# `fedjax-sparse report FOLDER` makes one HTML page of all of it.

# %%
run = fs.load_run(runs[1])
print(run.config.algorithm, "seeds", run.seeds)
print({name: run.table[name][-1] for name in ("round", "global_test_accuracy", "density", "uplink_bytes")})
