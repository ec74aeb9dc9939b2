"""An account as people may see it: as a row of an accounts file, with or without its secrets, and as a line of a list."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from worker.accounts.columns import CUSTOM_FIELDS, LABELS, OF_THE_CLIENT, SECRETS, SETTINGS
from worker.crypto.sealer import AccountSealer

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

MASK: Final = "**********"

#: Settings and knobs that hold a URL. What stands in its query or fragment may be a key.
_URLS: Final = frozenset(
    {"token_url", "server_url", "refresh_url", "authorize_url", "device_url", "revocation_url"}
)
#: A part of a template: a variable, which is none of its secrets.
_VARIABLE: Final = re.compile(r"\$\{(?:[^{}]|\$\{[^{}]*\})*\}")
#: Where a query begins, one parameter ends, or the next alternative of a template begins.
_PARAMETER: Final = re.compile(r"(?P<begins>[?&;#])(?P<name>[^=&;#|\s]*=)?(?P<value>[^&;#\s]*)")
#: Knobs whose texts may be credentials, unless they are templates that fetch them from elsewhere.
_MAY_HOLD_SECRETS: Final = frozenset(
    {"params", "query", "headers", "authorization", "client_assertion", "grant_assertion"}
)
_LISTED: Final = (
    "id",
    "provider",
    "client",
    "status",
    "reason",
    "refresh_enabled",
    "refresh_method",
    "session_management",
    "generation",
    "issued_at",
    "expires_at",
    "next_refresh_at",
    "due_reason",
    "failures",
)
_STATE: Final = (
    "status",
    "reason",
    "status_at",
    "failures",
    "generation",
    "published_generation",
    "config_version",
    "next_refresh_at",
    "due_reason",
    "refresh_token_expires_at",
    "created_at",
)


def row(account: Account, sealer: AccountSealer | None) -> dict[str, Any]:
    """Return an account as a row of an accounts file, without what it does not have.

    With a vault its secrets are in it, in clear; without one they are left out, and importing the row again
    changes nothing of them.

    Raises:
        CipherError: a secret does not open.
    """
    found: dict[str, Any] = {"id": account.id}
    settings = {name: getattr(account, name) for name in SETTINGS}
    if account.client is not None:
        settings |= dict.fromkeys(OF_THE_CLIENT)
    found |= {
        name: value for name, value in settings.items() if sealer is not None or not _has_secret(name, value)
    }
    if sealer is not None:
        for name in SECRETS:
            secret = sealer.open(account, name)
            found[name] = secret.reveal() if secret else None
    found |= {name: getattr(account, name) for name in ("token_type", "scope", "issued_at", "expires_at")}
    if sealer is not None:
        found[CUSTOM_FIELDS] = {
            name: value.reveal() for name, value in sealer.custom_fields(account).items()
        } or None
    found[LABELS] = account.label_set or None
    knobs: dict[str, Any] = json.loads(account.knobs)
    found |= {
        name: value for name, value in knobs.items() if sealer is not None or not _has_secret(name, value)
    }
    return {name: _short(value) for name, value in found.items() if value is not None}


def masked(account: Account, sealer: AccountSealer) -> dict[str, Any]:
    """Return all that is known of an account, every secret masked.

    Raises:
        CipherError: its custom fields, whose names are shown, do not open.
    """
    found: dict[str, Any] = {"id": account.id}
    found |= {name: shown_setting(name, getattr(account, name)) for name in SETTINGS}
    found |= {name: MASK if getattr(account, f"{name}_sealed") else None for name in SECRETS}
    found |= {name: getattr(account, name) for name in ("token_type", "scope", "issued_at", "expires_at")}
    found[CUSTOM_FIELDS] = dict.fromkeys(sealer.custom_fields(account), MASK)
    found[LABELS] = account.label_set
    knobs: dict[str, Any] = json.loads(account.knobs)
    found |= {name: shown_setting(name, value) for name, value in knobs.items()}
    found |= {name: getattr(account, name) for name in _STATE}
    found["extra"] = dict.fromkeys(json.loads(account.extra), MASK)
    return found


def shown_settings(account: Account) -> dict[str, Any]:
    """Return an account's settings and knobs without what may be a secret in them; no key is needed for it."""
    knobs: dict[str, Any] = json.loads(account.knobs)
    settings = {name: getattr(account, name) for name in SETTINGS}
    return {name: shown_setting(name, value) for name, value in (settings | knobs).items()}


def listed(account: Account) -> dict[str, Any]:
    """Return what a list shows of an account."""
    return {name: getattr(account, name) for name in _LISTED} | {LABELS: account.label_set}


def _short(value: object) -> object:
    """Write 900 for 900.0, as a person would."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _has_secret(knob: str, value: object) -> bool:
    if knob in _URLS:
        return any(_masked_url(text) != text for text in _texts(value))
    return knob in _MAY_HOLD_SECRETS and any("${" not in text for text in _texts(value))


def shown_setting(name: str, value: object) -> object:
    """Return a setting's or a knob's value without what may be a secret in it."""
    if name in _URLS and isinstance(value, list):
        return [shown_setting(name, one) for one in value]
    if name in _URLS and isinstance(value, str):
        return _masked_url(value)
    return _masked(value) if _has_secret(name, value) else value


def _masked_url(url: str) -> str:
    """Mask the values in a URL's query and fragment; variables stay, and so do names."""

    def mask(found: re.Match[str]) -> str:
        value = found["value"]
        kept = not _VARIABLE.sub("", value)
        return f"{found['begins']}{found['name'] or ''}{value if kept else MASK}"

    return _PARAMETER.sub(mask, url)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return [text for one in inner for text in _texts(one)]


def _masked(value: object) -> object:
    if isinstance(value, str):
        return value if "${" in value else MASK
    if isinstance(value, Mapping):
        return {name: _masked(inner) for name, inner in value.items()}
    return [_masked(inner) for inner in value] if isinstance(value, list) else value
