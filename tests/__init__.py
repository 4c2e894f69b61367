"""The tests of fedjax_sparse, in the folders of what they test."""

# Flags of XLA for programs that are compiled by the hundred and run for microseconds; without the second one the suite
# takes half as long again. The fixture `as_shipped` takes both back.
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
