"""`refreshd demo`: see it work, on accounts of a local provider."""

from __future__ import annotations


def demo() -> None:
    """See tokens being refreshed, live, on accounts of a local OAuth provider; Ctrl-C ends it."""
