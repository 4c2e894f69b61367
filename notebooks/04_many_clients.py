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
# # Thousands of clients on one accelerator
#
# A cohort is an axis of arrays: `chunk` of its clients are trained at once, by `vmap`, and the chunks after each
# other. On a GPU or TPU the chunk is as large as memory allows, which is asked of the compiler before the run starts;
# on a CPU, where one client's products fill a core, it is 1. Time does not depend on the population, only on the
# cohort.
#
# The numbers are small on a CPU, so that this runs anywhere; on an accelerator, these lines train 5,000 clients a
# round.

# %%
import time

import jax
import numpy as np

import fedjax_sparse as fs
from fedjax_sparse.data.arrays import Dataset
from fedjax_sparse.simulation.driver import every, run
from fedjax_sparse.simulation.memory import compile_to_fit
from fedjax_sparse.simulation.setting import with_chunk

accelerator = jax.default_backend() != "cpu"
clients, cohort = (100_000, 5_000) if accelerator else (2_000, 100)
print(jax.devices(), f"{cohort:,} of {clients:,} clients a round")

# %% [markdown]
# Ten examples for each client: noisy copies of ten patterns.

# %%
rng = np.random.default_rng(0)
patterns = rng.normal(size=(10, 64)).astype(np.float32)


def examples(count):
    """Count examples, f32[count, 64], and their classes."""
    y = rng.integers(0, 10, count).astype(np.int32)
    return patterns[y] + rng.normal(size=(count, 64)).astype(np.float32), y


data = Dataset("patterns", *examples(10 * clients), *examples(500), task="classification", classes=10)
population = fs.make_population(data, fs.Partition("iid", clients=clients))
model = fs.build_model("mlp", (64,), 10, hidden=(32,))

# %% [markdown]
# What compiled rounds need is known before they run. `fedjax-sparse run` halves an automatic chunk until that fits;
# here the same is said of two chunks, which are kept whether they fit or not.

# %%
setting = fs.make_setting(
    data,
    model,
    population,
    cohorts=fs.Cohorts(cohort),
    training=fs.Training(rounds=10, batch_size=5, client_lr=0.3),
)


def make(federation):
    """The algorithm, which is built anew for each chunk."""
    return fs.make_algorithm("static-random", federation, sparsity=0.9)


for chunk in (setting.chunk, 50):
    algorithm, chunked, program, memory = compile_to_fit(make, with_chunk(setting, chunk), fixed=True)
    print(memory.describe())
    start = time.perf_counter()
    *_, last = run(algorithm, chunked, [0], evaluate_at=every(10), program=program)
    accuracy = last.rows[0]["global_test_accuracy"]
    print(f"  {100 * accuracy:.1f} % after 10 rounds, {time.perf_counter() - start:.1f} s")

# %% [markdown]
# Several devices share a cohort with `--devices auto`; client states that outgrow the accelerator are kept in main
# memory with `--state-store host`; and several hosts run the same command.
