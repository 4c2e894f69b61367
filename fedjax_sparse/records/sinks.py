"""Where a run's rows go besides its records: a table for spreadsheets, TensorBoard. No JAX here."""

from fedjax_sparse.errors import UsageError
from fedjax_sparse.records.run_folder import Row, RunFolder, Sink
from fedjax_sparse.records.writing import csv_lines, replace, writing


def csv_sink(folder: RunFolder) -> Sink:
    """Keeps `metrics.csv` the same as `metrics.jsonl`: made from it now, and again when a row has a new column."""
    columns: dict[str, None] = {}

    def rewrite() -> None:
        rows = folder.rows()
        columns.update(dict.fromkeys(name for row in rows for name in row))
        with writing(folder.path / "metrics.csv") as path:
            replace(path, csv_lines([list(columns), *([row.get(name) for name in columns] for row in rows)]))

    def write(row: Row) -> None:
        if row.keys() - columns.keys():
            rewrite()
            return
        with writing(folder.path / "metrics.csv") as path, path.open("ab") as file:
            file.write(csv_lines([[row.get(name) for name in columns]]))

    rewrite()
    return write


def tensorboard_sink(folder: RunFolder) -> Sink:
    """Keeps every number as a TensorBoard scalar: anew from `metrics.jsonl` now, then row by row.

    Raises:
        UsageError: As `tensorboard_writer`.
    """
    writer = tensorboard_writer()(str(folder.path / "tensorboard"), purge_step=0, flush_secs=5)

    def write(row: Row) -> None:
        for name, value in row.items():
            if name != "round" and isinstance(value, int | float):
                writer.add_scalar(name, float(value), row["round"])

    for row in folder.rows():
        write(row)
    return write


def tensorboard_writer() -> type:
    """What writes for TensorBoard.

    Raises:
        UsageError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "TensorBoard needs another package: pip install 'fedjax-sparse[tensorboard]'"
        ) from error
    return SummaryWriter
