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
# # Quickstart
#
# Sparse federated learning from data to a file: twenty clients train a perceptron on digits, the server prunes nine
# tenths of it on the way, and the model that comes of it is written, read again and asked for predictions. Embedded
# data, a few seconds on two CPU cores.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fedjax_sparse as fs

# %% [markdown]
# A data set is arrays, and a population says who holds which of them: here each client's share of the classes is
# drawn from Dirichlet(0.3), so that clients differ a lot.

# %%
data = fs.load_dataset("digits")
population = fs.make_population(data, fs.Partition("dirichlet", alpha=0.3, clients=20))
print("examples of each client:", np.asarray(population.count))

# %% [markdown]
# A setting is all that algorithms share: the model, who takes part in a round, and how clients train. An algorithm is
# then a handful of pure functions, which `simulate` compiles into one program, for two seeds at once.

# %%
model = fs.build_model("mlp", data.x_train.shape[1:], data.classes, hidden=(32,))
setting = fs.make_setting(data, model, population, cohorts=fs.Cohorts(10), training=fs.Training(rounds=30))
algorithm = fs.make_algorithm("fedsparsify-global", setting.federation, sparsity=0.9)
result = fs.simulate(algorithm, setting, seeds=2, eval_every=3)

# %% [markdown]
# Every evaluated round is a row, with the bytes that a real encoder would have sent so far.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for seed, (rows, line) in enumerate(zip(result.rows, ("-", "--"), strict=True)):
    rounds = [row["round"] for row in rows]
    left.plot(rounds, [100 * row["global_test_accuracy"] for row in rows], line, label=f"seed {seed}")
    right.plot(rounds, [100 * row["density_prunable"] for row in rows], line, label=f"seed {seed}")
left.set(xlabel="Round", ylabel="Test accuracy (%)")
right.set(xlabel="Round", ylabel="Weights that live (%)", ylim=(0, None))
left.legend()
plt.show()

# %% [markdown]
# The model in one small file, which needs neither the run nor its data to predict:

# %%
with tempfile.TemporaryDirectory() as folder:
    saved = fs.save_model(result.models[0], Path(folder) / "digits.sparse")
    loaded = fs.load_model(saved.file)
print(f"{saved.file_bytes:,} bytes in place of {saved.dense_bytes:,}")
accuracy = np.mean(loaded.predict(data.x_test) == data.y_test)
print(f"test accuracy of the loaded model: {100 * accuracy:.1f} %")
assert np.array_equal(loaded.outputs(data.x_test), result.models[0].outputs(data.x_test))
