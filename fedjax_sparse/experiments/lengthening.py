"""A run made longer than it was meant to be, where the rounds that are done would have been the same. No JAX here."""

from fedjax_sparse import errors
from fedjax_sparse.config import lr_schedule, registry
from fedjax_sparse.config import run_config as configs
from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.errors import UsageError


def lengthened(config: RunConfig, rounds: int) -> RunConfig:
    """The configuration with a later last round.

    Args:
        config: Of the run so far.
        rounds: The new T, at least the old one.

    Raises:
        UsageError: T is less, or the rounds of this run depend on T, with what makes them do so.
    """
    before = config.training
    errors.check_range("--rounds", rounds, before.rounds)
    longer = configs.changed(config, rounds=rounds)
    if longer == config:
        return config
    follows = registry.entry(config.algorithm).follows_length
    if follows is None:
        raise _refusal(config, f"nothing says that no round of {config.algorithm}")
    if follows:
        raise _refusal(config, f"what {config.algorithm} prunes in a round")
    old, new = (lr_schedule.factors(before.lr_schedule, each) for each in (before.rounds, rounds))
    if new[: before.rounds] != old:
        raise _refusal(config, f"the learning rate of --lr-schedule {before.lr_schedule}")
    return longer


def _refusal(config: RunConfig, what: str) -> UsageError:
    return UsageError(
        f"this run cannot be made longer: {what} depends on how many rounds there are "
        f"(allowed: --rounds {config.training.rounds}, or a new run)"
    )
