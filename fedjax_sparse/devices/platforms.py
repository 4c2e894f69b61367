"""What a platform is good at: the one place that is asked, and that can be told of another platform than this one.

Programs are the same everywhere up to rounding; how clients are cut, which form a convolution takes and how shuffles
are drawn is a matter of speed, and measured (docs/design.md has the numbers; those of accelerators are predictions).
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import NamedTuple

import jax


class Platform(NamedTuple):
    """A kind of device, by what programs for it should look like.

    Attributes:
        name: As JAX calls it: cpu, gpu or tpu.
        compiler_options: What XLA is asked beyond its defaults.
        side_by_side: Whether work on different weights (clients of a cohort, seeds of a run) gains from being batched;
            else it runs one after another, and convolutions whose kernels differ by client do so too.
        pads_without_need: Whether a convolution that needs no padding is faster with a spare column, cut off later.
        avoids_ynnpack: Whether kernel gradients with many channels are faster as convolutions that YNNPACK refuses.
        turns_small_layers: Whether a layer of few outputs learns faster by the gradient of its kernel's transpose.
        sorts_are_skipped: Whether a shuffle that a client does not need is worth a branch; else all are drawn at once.
        shares_main_memory: Whether the devices' memory is the host's.
    """

    name: str
    compiler_options: Mapping[str, int]
    side_by_side: bool
    pads_without_need: bool
    avoids_ynnpack: bool
    turns_small_layers: bool
    sorts_are_skipped: bool
    shares_main_memory: bool


# By default XLA leaves the 512 bits of AVX-512 unused, for the sake of older processors. On newer ones passes over
# scores, masks and random bits gain a third, products and convolutions nothing. Other CPUs do not mind.
CPU = Platform(
    name="cpu",
    compiler_options={"xla_cpu_prefer_vector_width": 512},
    side_by_side=False,
    pads_without_need=True,
    avoids_ynnpack=True,
    turns_small_layers=True,
    sorts_are_skipped=True,
    shares_main_memory=True,
)


def accelerator(name: str) -> Platform:
    """A GPU or a TPU."""
    return Platform(
        name=name,
        compiler_options={},
        side_by_side=True,
        pads_without_need=False,
        avoids_ynnpack=False,
        turns_small_layers=False,
        sorts_are_skipped=False,
        shares_main_memory=False,
    )


_assumed: ContextVar[Platform | None] = ContextVar("platform", default=None)


def current() -> Platform:
    """The platform that programs are made for: what `assume` says, else JAX's default."""
    platform = _assumed.get()
    if platform is not None:
        return platform
    name = jax.default_backend()
    return CPU if name == "cpu" else accelerator(name)


@contextlib.contextmanager
def assume(platform: Platform) -> Iterator[None]:
    """Programs built and traced inside are made for another platform than this machine's."""
    token = _assumed.set(platform)
    try:
        yield
    finally:
        _assumed.reset(token)
