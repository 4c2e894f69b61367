"""Vectorised simulation of sparse federated learning in JAX."""
