"""Counts of what is sent and computed, and their prices in bytes and FLOPs."""
