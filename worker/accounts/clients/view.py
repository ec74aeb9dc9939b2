"""A client as people and scripts may see it: never its secret."""

from __future__ import annotations

from typing import Any

from models.tables.client import Client
from worker.accounts.view import MASK, shown_setting


def client_json(client: Client, *, accounts: int) -> dict[str, Any]:
    """Return a client as scripts read it: its secret masked, and how many accounts name it."""
    return {
        "name": client.name,
        "provider": client.provider,
        "client_id": client.client_id,
        "client_secret": MASK if client.client_secret_sealed else None,
        "client_auth": client.client_auth,
        "token_url": shown_setting("token_url", client.token_url),
        "issuer": client.issuer,
        "return_urls": client.urls,
        "client_secret_expires_at": client.secret_expires_at,
        "accounts": accounts,
        "created_at": client.created_at,
        "changed_at": client.changed_at,
    }
