"""Accounts and clients as the API shows them: what is known of each, and no secret."""

from __future__ import annotations

import json
from typing import Any, Final

from models.tables.account import Account
from models.tables.client import Client
from worker.accounts.columns import SECRETS
from worker.accounts.view import shown_settings

#: Of a list and of one account. Times are epoch seconds.
_STATE: Final = (
    *("status", "reason", "status_at", "failures", "generation", "published_generation"),
    *("issued_at", "expires_at", "refresh_token_expires_at", "next_refresh_at", "due_reason", "created_at"),
)
_BRIEF: Final = ("refresh_enabled", "refresh_method", "session_management")


def account_brief(account: Account) -> dict[str, Any]:
    """Return what a list says of an account."""
    return {
        "id": account.id,
        "provider": account.provider,
        "client": account.client,
        "labels": account.label_set,
        **{name: getattr(account, name) for name in (*_BRIEF, *_STATE)},
        "published_generation": account.published_generation if account.published_generation >= 0 else None,
    }


def account_full(account: Account) -> dict[str, Any]:
    """Return all that may be shown of an account: of secrets, which ones it has."""
    return {
        **shown_settings(account),
        **account_brief(account),
        "token_type": account.token_type,
        "scope": account.scope,
        "config_version": account.config_version,
        "held_by": account.held_by,
        "has": {name: getattr(account, f"{name}_sealed") is not None for name in (*SECRETS, "custom_fields")},
    }


def client_shown(client: Client, accounts: int) -> dict[str, Any]:
    """Return all that may be shown of a client."""
    return {
        "name": client.name,
        "provider": client.provider,
        "client_id": client.client_id,
        "client_auth": client.client_auth,
        "token_url": client.token_url,
        "issuer": client.issuer,
        "return_urls": json.loads(client.return_urls),
        "client_secret_expires_at": client.secret_expires_at,
        "has_secret": client.client_secret_sealed is not None,
        "accounts": accounts,
        "created_at": client.created_at,
        "changed_at": client.changed_at,
    }
