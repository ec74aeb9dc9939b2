"""Schemas of Connect."""

from __future__ import annotations

from typing import Any, Final

from models.tables.connect_session import ConnectStatus
from refreshd_reader.contract import ACCOUNT_ID
from worker.connect.opening import EXPIRES_MAX_S, EXPIRES_MIN_S, EXPIRES_S
from worker.connect.reasons import REASONS

_ID: Final = {"type": "string", "pattern": f"^{ACCOUNT_ID.pattern}$"}
_TEXT: Final = {"type": ["string", "null"]}
_TIME: Final = {"type": ["number", "null"], "description": "Epoch seconds (UTC)."}
_LABELS: Final = {"$ref": "#/components/schemas/Labels"}
_OPENED: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "url": {"type": "string", "format": "uri", "description": "Where the customer's browser is sent."},
    "expires_at": {"type": "number", "description": "Until when it may be begun, epoch seconds."},
}
_SESSION: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "account": _ID,
    "provider": {"type": "string"},
    "client": _ID,
    "labels": _LABELS,
    "return_url": {"type": "string"},
    "status": {"type": "string", "enum": [one.value for one in ConnectStatus]},
    "reason": {"enum": [*REASONS, None], "description": "Why it failed (docs/connect.md)."},
    "detail": {**_TEXT, "description": "What the provider said, or which field was wrong."},
    "outcome": {"enum": ["connected", "reconnected", "replaced", None]},
    "generation": {"type": ["integer", "null"], "description": "The account's generation that the grant is."},
    "created_at": _TIME,
    "expires_at": _TIME,
    "ended_at": _TIME,
}

CONNECT_SCHEMAS: Final[dict[str, Any]] = {
    "ConnectSessionFields": {
        "type": "object",
        "additionalProperties": False,
        "required": ["account", "return_url"],
        "properties": {
            "account": {**_ID, "description": "A new id, or one that is there."},
            "client": {
                "type": ["string", "null"],
                "pattern": _ID["pattern"],
                "description": "The client that asks (`/v1/clients`). Default: the account's; with `resource` or `issuer` one "
                "that is found or registered.",
            },
            "resource": {
                **_TEXT,
                "description": "A protected resource, such as an MCP server, by its URL: it says where consent is asked.",
            },
            "issuer": {
                **_TEXT,
                "description": "An authorization server, in the place of `resource` (RFC 8414, OpenID Connect discovery).",
            },
            "return_url": {
                "type": "string",
                "description": "Where the browser goes afterwards; the client's `return_urls` has to allow it.",
            },
            "provider": {**_TEXT, "description": "The client's provider; checked where it is given."},
            "scope": {**_TEXT, "description": "Default: the account's, else the provider's."},
            "labels": {
                **_LABELS,
                "description": "Of an account that is made; one that is there keeps its own.",
            },
            "custom_fields": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Of the account, such as a tenant's subdomain; kept as secrets.",
            },
            "expires_in_s": {
                "type": "number",
                "minimum": EXPIRES_MIN_S,
                "maximum": EXPIRES_MAX_S,
                "default": EXPIRES_S,
            },
        },
    },
    "OpenedConnectSession": {"type": "object", "properties": _OPENED, "required": list(_OPENED)},
    "ConnectSession": {"type": "object", "properties": _SESSION, "required": list(_SESSION)},
}
