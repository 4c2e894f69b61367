"""Data sets, how they are divided among clients, and who takes part in a round."""
