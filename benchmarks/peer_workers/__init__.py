"""One script for each framework that `benchmarks.peers` times; each runs in an environment of its own."""
