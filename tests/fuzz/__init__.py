"""Fuzzing of everything that parses what others wrote: `python -m tests.fuzz --minutes 10 TARGET...`."""
