"""What to keep: scores, counts, schedules, selection, masks and their movement. Importing it does not import JAX."""
