"""An issuer's metadata, read when an account or a client first names it."""

from __future__ import annotations

from models.providers import Provider
from worker.context import AppContext
from worker.errors import RefreshdError
from worker.policy.reasons import REASONS
from worker.providers.discovery.metadata import DiscoveryFailed


class Undiscovered(RefreshdError):
    """An address leads to nothing that an account can be authorized with."""

    def __init__(self, failed: DiscoveryFailed) -> None:
        asked = "".join(f"\nasked {note}" for note in getattr(failed, "__notes__", ()))
        #: One of `worker.policy.reasons`.
        self.reason = failed.failure.value
        super().__init__(f"{failed} [{self.reason}]{asked}\nwhat to do: {REASONS[self.reason].action}")


async def read_issuer(here: AppContext, issuer: str, *, accept_hosts: bool = False) -> Provider:
    """Read an issuer's metadata, and store them.

    Raises:
        Undiscovered: they can't be used.
    """
    client = here.document_client()
    try:
        return await here.issuer_reader.read(client, issuer, accept_hosts=accept_hosts)
    except DiscoveryFailed as failed:
        raise Undiscovered(failed) from None
    finally:
        await client.aclose()
