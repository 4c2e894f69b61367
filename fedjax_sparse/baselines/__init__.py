"""The baselines that the systems are compared with: mathematics only; their cards are in `config/cards/`."""
