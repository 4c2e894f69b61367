"""Measurements. Each prints one table; none is a test. See `benchmarks/README.md`."""
