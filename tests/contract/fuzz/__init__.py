"""Fuzzing of everything that parses what others wrote: `python -m tests.contract.fuzz --minutes 10 TARGET...`."""
