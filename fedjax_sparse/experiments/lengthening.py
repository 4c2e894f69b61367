"""A run made longer than it was meant to be, where the rounds that are done would have been the same. No JAX here."""

import dataclasses

from fedjax_sparse import errors
from fedjax_sparse.config import lr_schedule, registry
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
    errors.check_range("--rounds", rounds, config.rounds)
    longer = dataclasses.replace(config, rounds=rounds)
    if longer == config:
        return config
    if registry.entry(config.algorithm).follows_length:
        raise _refusal(config, f"what {config.algorithm} prunes in a round")
    before, after = (lr_schedule.factors(config.lr_schedule, each.rounds) for each in (config, longer))
    if after[: config.rounds] != before:
        raise _refusal(config, f"the learning rate of --lr-schedule {config.lr_schedule}")
    return longer


def _refusal(config: RunConfig, what: str) -> UsageError:
    return UsageError(
        f"this run cannot be made longer: {what} depends on how many rounds there are "
        f"(allowed: --rounds {config.rounds}, or a new run)"
    )
