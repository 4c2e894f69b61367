"""What a run writes, and its way back: the run folder, rows of metrics, checkpoints."""
