"""Breaks a fleet for as long as you like, and counts what was lost: `python -m benchmarks.chaos --help`."""
