"""The columns of `account`, written out: to ask the table (`models/tables/account.py`) for them would load the ORM.

A test compares the two.
"""

from __future__ import annotations

from typing import Final

from models.account_state import DEFAULT_SESSION_TIMEOUT_S, RefreshMethod, SessionManagement, Status
from models.label import NO_LABELS

#: Columns that every account gives.
REQUIRED: Final = ("id", "provider")
#: Every other column, and what a new account has. What may be NULL is so by default.
DEFAULTS: Final[dict[str, str | float | None]] = {
    "client_id": None,
    "client_secret_sealed": None,
    "client_auth": None,
    "token_url": None,
    "server_url": None,
    "refresh_enabled": True,
    "refresh_method": RefreshMethod.BODY,
    "callback": None,
    "session_management": SessionManagement.AUTO,
    "session_timeout_s": DEFAULT_SESSION_TIMEOUT_S,
    "custom_fields_sealed": None,
    "knobs": "{}",
    "access_token_sealed": None,
    "refresh_token_sealed": None,
    "refresh_fp": None,
    "token_type": "Bearer",
    "scope": None,
    "issued_at": None,
    "expires_at": None,
    "refresh_token_expires_at": None,
    "refresh_token_end_fixed": False,
    "extra": "{}",
    "generation": 0,
    "published_generation": 0,
    "config_version": 1,
    "jitter": 0.0,
    "next_refresh_at": None,
    "due_reason": "",
    "plan_at": None,
    "status": Status.ACTIVE,
    "reason": None,
    "status_at": 0.0,
    "failures": 0,
    "failed_at": None,
    "succeeded_at": None,
    "held_by": None,
    "claim_attempt": None,
    "claim_until": None,
    "kept_sealed": None,
    "source_fp": None,
    "created_at": 0.0,
    "labels": NO_LABELS,
    "client": None,
}
NULLABLE: Final = frozenset(name for name, default in DEFAULTS.items() if default is None)
#: Nullable columns that are times; the others are texts.
_TIMES: Final = frozenset(
    {
        "issued_at",
        "expires_at",
        "refresh_token_expires_at",
        "next_refresh_at",
        "plan_at",
        "failed_at",
        "succeeded_at",
        "claim_until",
    }
)
_KINDS: Final = {bool: "boolean", int: "integer", float: "double precision"}


def _type(name: str, default: str | float | None) -> str:
    return "double precision" if name in _TIMES else _KINDS.get(type(default), "text")


#: The PostgreSQL type of each column, in the order of the table.
TYPES: Final = {
    **dict.fromkeys(REQUIRED, "text"),
    **{name: _type(name, default) for name, default in DEFAULTS.items()},
}
#: Columns for which SQLite has numbers.
BOOLEANS: Final = tuple(name for name, kind in TYPES.items() if kind == "boolean")
