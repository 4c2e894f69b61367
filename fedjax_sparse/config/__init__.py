"""What a run and its algorithms are made of, by name and value: options, cards, the registry. No JAX."""
