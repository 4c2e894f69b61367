"""Runs from a configuration to a folder: build, drive, stop, resume, many of them."""
