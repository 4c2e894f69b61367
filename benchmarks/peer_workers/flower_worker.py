"""Flower on Ray and PyTorch: `python flower_worker.py WORKLOAD`; one actor with one thread for each core.

Rounds are timed in the server's program, while Ray is running: its start is not counted.
"""

# pyright: reportMissingImports=false
# Flower and PyTorch are installed in the peers' environments only.

import sys
from collections.abc import Iterable

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.peer_workers import protocol, torch_training
from benchmarks.workloads import WORKLOADS


class Averaging(FedAvg):
    """Federated averaging that does not go on without clients that failed."""

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        """The mean of the clients' models."""
        replies = list(replies)
        for reply in replies:
            if reply.has_error():
                raise RuntimeError(reply.error.reason)
        return super().aggregate_train(server_round, replies)


def client_app(name: str) -> ClientApp:
    """Local training; an actor keeps the data and the model from call to call."""
    app, batch = ClientApp(), WORKLOADS[name].batch

    @app.train()
    def train(message: Message, context: Context) -> Message:
        x, y = torch_training.population(name)
        model = torch_training.model(name)
        client = int(context.node_config["partition-id"])
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        torch_training.train(model, x[client], y[client], batch)
        trained = ArrayRecord(model.state_dict())
        weight = MetricRecord({"num-examples": y.shape[1]})
        return Message(RecordDict({"arrays": trained, "metrics": weight}), reply_to=message)

    return app


def server_app(name: str) -> ServerApp:
    """Rounds as they are asked for."""
    app, workload = ServerApp(), WORKLOADS[name]

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        del context
        model = torch_training.model(name)
        strategy = Averaging(
            fraction_train=workload.cohort / workload.clients,
            fraction_evaluate=0.0,
            min_train_nodes=workload.cohort,
            min_available_nodes=workload.clients,
        )
        arrays = ArrayRecord(model.state_dict())
        for rounds in protocol.turns(torch_training.parameters(model), ("flwr", "ray", "torch")):
            arrays = strategy.start(grid, arrays, num_rounds=rounds).arrays

    return app


def main(name: str) -> None:
    run_simulation(
        server_app(name),
        client_app(name),
        num_supernodes=WORKLOADS[name].clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )


if __name__ == "__main__":
    main(sys.argv[1])
