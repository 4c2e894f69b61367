"""The tests of fedjax_sparse, in the folders of what they test."""

from importlib import metadata

# Flags of XLA for programs that are compiled by the hundred and run for microseconds. JAX 0.10 also has a simpler way
# to write loops, with which the suite takes two thirds of the time; a later JAX does not know the flag, and ends at it.
SIMPLE_LOOPS = metadata.version("jaxlib").startswith("0.10.")
QUICK_COMPILATION = "--xla_backend_optimization_level=0"
if SIMPLE_LOOPS:
    QUICK_COMPILATION += " --xla_cpu_use_fusion_emitters=false"
