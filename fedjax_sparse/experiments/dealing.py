"""Who would hold what: a partition drawn without a run."""

from pathlib import Path

from fedjax_sparse.config.options import declared_options
from fedjax_sparse.config.sections import Data, Partition
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments import building
from fedjax_sparse.records import run_folder
from fedjax_sparse.results import clients, naming
from fedjax_sparse.results.reading import Run


def draw(data: Data, partition: Partition, out: Path | None) -> list[Path]:
    """Deals the data set's training examples to clients and draws who holds what.

    Args:
        data: What is dealt.
        partition: How, and to how many.
        out: Folder of the figure and its numbers; by default one here that is named after the data and all that decides
            who holds them.

    Raises:
        UsageError: The data cannot be had or not be dealt so, or the folder not be written.
    """
    holdings = building.dealt(data, partition).holdings
    options = {
        o.name: getattr(part, o.name) for part in (data, partition) for o in declared_options(type(part))
    }
    dealt = Run(Path(), "", options, [], "")
    rule = naming.setting(dealt).partition.replace(" ", "-")
    drawn = f"{rule}-{len(holdings)}-clients-seed-{partition.partition_seed}"
    out = out or Path(f"partition-{Path(data.dataset).stem}-{drawn}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        run_folder.write_clients(out, holdings)
        return clients.draw(dealt._replace(folder=out, clients=(out / run_folder.CLIENTS).read_text()), out)
    except OSError as error:
        raise UsageError(f"cannot write figures to {out}: {error.strerror}") from error
