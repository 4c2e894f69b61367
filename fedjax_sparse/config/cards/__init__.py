"""A card for each family of algorithms: what is known of them before any of their code is imported.

A card is a module with `ENTRIES`; its mathematics is the file of the same name in `algorithms/` or `baselines/`. The
registry finds every card that lies here. No JAX: `--help` reads them.
"""
