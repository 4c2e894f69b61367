"""The sparse federated systems, a paper a file: mathematics only; their cards are in `config/cards/`."""
