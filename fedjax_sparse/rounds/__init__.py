"""Rounds that several algorithms share; each algorithm passes in what differs."""
