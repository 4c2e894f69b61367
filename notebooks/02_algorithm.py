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
# # An algorithm in forty lines
#
# Federated averaging in which every client sends only the largest entries of its step. Local training, the fan-out
# over clients, the server's optimiser, exact top-k and the prices of messages are there; what is written is what
# differs.

# %%
from dataclasses import dataclass

import jax.numpy as jnp

import fedjax_sparse as fs
from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.entry import Hyperparameters
from fedjax_sparse.config.options import SPARSITY, option
from fedjax_sparse.costs import counts
from fedjax_sparse.server.optimizer import server_step
from fedjax_sparse.sparsity import masks
from fedjax_sparse.types import Algorithm, Declared, Metrics, State

# %% [markdown]
# Hyper-parameters are declared once: from here the command line has its flag, its help and its check.


# %%
@dataclass(frozen=True)
class TopKSteps(Hyperparameters):
    """Its hyper-parameters."""

    sparsity: float = option(0.8, "fraction of a step that is not sent", allowed=SPARSITY)


# %% [markdown]
# A round is `w ← w + Σ p_i TopK(w_i − w)`, with `w_i` what client i makes of `w` by local SGD. `work` is one
# client's part; `over_clients` runs it for the cohort and adds up what is sent. Costs are counts: how
# many values, and how many of them the receiver has to be told the place of.


# %%
def top_k_steps(federation, hyper: TopKSteps):
    """FedAvg with the top-K of each client's step. It forgets what it leaves out, and is here to be read."""
    gradient, optimizer = make_gradient(federation.loss), federation.server_optimizer
    size, everything = trees.size(federation.params), masks.prunable(federation.kinds, masks.KINDS)
    keep = size - int(hyper.sparsity * size)
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)

    def work(shared, client_state, client, key):
        (variables, _), t = shared
        trained = federation.train(gradient, variables, client, t, key)
        step = weighted_step(trained.variables, variables, client.weight)
        largest = masks.magnitude(step.params, keep, everything)
        report = counts.Report(trained.loss, counts.training_work(trained, live))
        return step._replace(params=masks.apply(largest, step.params)), client_state, report

    def round_fn(state, cohort, t, key):
        total, clients, log = federation.over_clients(work, (state.server, t), state.client, cohort, key)
        variables, opt = state.server
        server = server_step(optimizer, variables, opt, total, cohort.weight)
        up = counts.sparse_message(size, keep, cohort.present, located=keep, universe=size)
        down = counts.dense_message(size, cohort.invited)
        return State(server, clients), Metrics(up, down, log.work, log.loss, {})

    return Algorithm(
        init=lambda variables, key: (variables, optimizer.init(variables.params)),
        init_client=no_client_state,
        prepare=None,
        round=round_fn,
        model=lambda server, client_state: server[0],
        declared=(Declared("upload", "exact", lambda t: keep, everything),),
    )


# %% [markdown]
# It runs like any other, and no line of the package knows of it.

# %%
data = fs.load_dataset("digits")
population = fs.make_population(data, fs.Partition(clients=10))
model = fs.build_model("mlp", data.x_train.shape[1:], data.classes, hidden=(32,))
setting = fs.make_setting(data, model, population, cohorts=fs.Cohorts(5), training=fs.Training(rounds=10))
for sparsity in (0.0, 0.95):
    algorithm = top_k_steps(setting.federation, TopKSteps(sparsity=sparsity))
    row = fs.simulate(algorithm, setting, eval_every=10).rows[0][-1]
    accuracy, uplink = row["global_test_accuracy"], row["uplink_bytes"]
    print(f"sparsity {sparsity}: {100 * accuracy:.1f} % after {uplink / 1e3:,.0f} kB from the clients")

# %% [markdown]
# In a module of its own it is an algorithm of the command line, with flags, records, `resume` and figures:
# `fedjax-sparse run my_module:top_k_steps --sparsity 0.95`; and
# `fedjax_sparse.testing.contract.check("my_module:top_k_steps")` tests what every algorithm here promises.
