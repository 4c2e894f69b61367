"""Flags of XLA for programs that are compiled by the hundred and run for microseconds. No JAX here.

They are read from the variable XLA_FLAGS when JAX is first imported. JAX 0.10 also has a simpler way to write loops,
with which the test suite takes two thirds of the time; a later JAX does not know the flag, and ends at it.
"""

from importlib import metadata

SIMPLE_LOOPS = metadata.version("jaxlib").startswith("0.10.")
FLAGS = "--xla_backend_optimization_level=0"
if SIMPLE_LOOPS:
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
