"""Requests of a process that can open nothing, sealed on their way to workers, which carry them out."""
