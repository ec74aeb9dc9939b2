"""Schemas of what the API takes and gives. What the fields of an account mean is in docs/accounts.md."""

from __future__ import annotations

from typing import Any, Final

from models.label import LABELS_MAX
from models.tables.account import RefreshMethod, SessionManagement, Status
from refreshd_reader.contract import ACCOUNT_ID
from worker.accounts.columns import KNOBS, OF_THE_TOKEN, SECRETS, SETTINGS
from worker.accounts.grants.replacement import GrantOutcome
from worker.api.connect.schemas import CONNECT_SCHEMAS
from worker.providers.discovery.metadata import Failure

_LABEL: Final = f"^{ACCOUNT_ID.pattern}$"
_TEXT: Final = {"type": ["string", "null"]}
_TIME: Final = {"type": ["number", "null"], "description": "Epoch seconds (UTC)."}
_INT: Final = {"type": "integer"}
_STATUS: Final = {"type": "string", "enum": [one.value for one in Status]}
_LABELS: Final = {"$ref": "#/components/schemas/Labels"}


def _object(properties: dict[str, Any], *required: str, closed: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def _list(schema: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}


_ANY: Final[dict[str, Any]] = {}
_FIELDS: Final[dict[str, Any]] = {
    **dict.fromkeys((*SETTINGS, *SECRETS, *OF_THE_TOKEN), _TEXT),
    "refresh_enabled": {"type": ["boolean", "null"]},
    "refresh_method": {"enum": [*(one.value for one in RefreshMethod), None]},
    "session_management": {"enum": [*(one.value for one in SessionManagement), None]},
    **{
        name: {"type": ["number", "string", "null"]}
        for name in ("session_timeout_s", "issued_at", "expires_in", "expires_at")
    },
    "client": {
        "type": ["string", "null"],
        "pattern": _LABEL,
        "description": "The name of a client (`/v1/clients`).",
    },
    "labels": {"anyOf": [_LABELS, {"type": "null"}]},
    "custom_fields": {
        "type": ["object", "null"],
        "description": "Name -> value; values are kept as secrets.",
    },
}
_BRIEF: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "provider": {"type": "string"},
    "client": _TEXT,
    "labels": _LABELS,
    "status": _STATUS,
    "reason": _TEXT,
    "status_at": _TIME,
    "failures": _INT,
    "generation": _INT,
    "published_generation": {
        "type": ["integer", "null"],
        "description": "Of the token that is noted to be in Redis; null: of none yet. It is noted within a second after "
        "the answer that says `published`.",
    },
    "issued_at": _TIME,
    "expires_at": _TIME,
    "refresh_token_expires_at": _TIME,
    "next_refresh_at": _TIME,
    "due_reason": {"type": "string"},
    "created_at": _TIME,
    "refresh_enabled": {"type": "boolean"},
    "refresh_method": {"type": "string"},
    "session_management": {"type": "string"},
}
_CLIENT: Final[dict[str, Any]] = {
    "provider": {"type": "string"},
    "client_id": _TEXT,
    "client_secret": {**_TEXT, "writeOnly": True},
    "client_auth": _TEXT,
    "token_url": _TEXT,
    "issuer": {**_TEXT, "description": "Of a client of provider `issuer`."},
    "return_urls": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Where Connect may send browsers back to.",
    },
    "client_secret_expires_at": {"type": ["number", "string", "null"], "description": "RFC 7591; 0: never."},
}

SCHEMAS: Final[dict[str, Any]] = {
    "LabelText": {"type": "string", "pattern": _LABEL},
    "Labels": {
        "type": "object",
        "maxProperties": LABELS_MAX,
        "propertyNames": {"pattern": _LABEL},
        "additionalProperties": {"$ref": "#/components/schemas/LabelText"},
    },
    "FieldError": _object(
        {
            "field": {"type": "string"},
            "reason": {"type": "string"},
            "code": {
                "type": "string",
                "description": "The reason's name for programs, where it has one: why an address (`resource`, `issuer`) leads "
                "to no authorization server. Further ones may come.",
                "examples": [one.value for one in Failure],
            },
        },
        *("field", "reason"),
    ),
    "Problem": _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": _INT,
            "detail": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/FieldError"},
            },
        },
        *("type", "title", "status", "detail"),
    ),
    "AccountFields": {
        **_object(_FIELDS),
        "description": f"Fields of an accounts file. Knobs of the provider as well: {', '.join(KNOBS)}.",
    },
    "AccountRow": {
        "allOf": [{"$ref": "#/components/schemas/AccountFields"}, _object({"id": {"type": "string"}}, "id")]
    },
    "Grant": {
        **_object(
            {
                "access_token": {"type": "string"},
                "refresh_token": {"type": "string"},
                "token_type": {"type": "string"},
                "scope": {"type": "string"},
                "expires_in": {"type": ["number", "string"]},
                "expires_at": {"type": ["number", "string"]},
                "issued_at": {"type": ["number", "string"]},
                "refresh_token_expires_in": {"type": ["number", "string"]},
                "verify": {"type": "boolean", "default": False},
            }
        ),
        "anyOf": [{"required": ["access_token"]}, {"required": ["refresh_token"]}],
        "description": "A token response (RFC 6749 section 5.1); further members of it may be sent along.",
    },
    "RefreshRequest": _object(
        {
            "force": {"type": "boolean", "default": False},
            "wait_s": {"type": "number", "minimum": 0, "maximum": 120, "default": 0},
        },
        closed=True,
    ),
    "RejectedToken": _object(
        {
            "generation": {"type": "integer", "minimum": 0, "maximum": 2**62},
            "http_status": {"type": "integer", "minimum": 100, "maximum": 599, "default": 401},
        },
        "generation",
        closed=True,
    ),
    "ClientFields": _object(_CLIENT),
    "Account": _object(
        {**_BRIEF, "scope": _TEXT, "token_type": {"type": "string"}, "has": {"type": "object"}}, *_BRIEF
    ),
    "AccountBrief": _object(_BRIEF, *_BRIEF),
    "AccountList": _object(
        {"accounts": _list("AccountBrief"), "next_cursor": _TEXT}, "accounts", "next_cursor"
    ),
    "Applied": _object(
        {
            "account": {"type": "string"},
            "outcome": {"enum": ["added", "changed", "unchanged", "kept_newer"]},
            "generation": _INT,
        },
        *("account", "outcome"),
    ),
    "Granted": _object(
        {
            "account": {"type": "string"},
            "outcome": {"enum": [one.value for one in GrantOutcome]},
            "generation": _INT,
            "status": _STATUS,
            "expires_at": _TIME,
            "next_refresh_at": _TIME,
            "published": {"type": "boolean"},
        },
        *("account", "outcome", "generation", "published"),
    ),
    "Removed": _object({"account": {"type": "string"}}, "account"),
    "Refreshed": _object(
        {
            "account": {"type": "string"},
            "outcome": {"type": "string"},
            "reason": {"type": "string"},
            "generation": _INT,
            "detail": {"type": "string"},
        },
        *("account", "outcome", "reason", "generation"),
    ),
    "Token": _object(
        {
            "account": {"type": "string"},
            "generation": _INT,
            "access_token": {"type": "string"},
            "token_type": {"type": "string"},
            "scope": _TEXT,
            "issued_at": _TIME,
            "expires_at": _TIME,
            "extra": {"type": "object"},
        },
        *("account", "generation", "access_token", "token_type", "expires_at"),
    ),
    "Reported": _object(
        {"account": {"type": "string"}, "generation": _INT, "reported": {"const": True}},
        "account",
        "generation",
    ),
    "History": _object(
        {"account": {"type": "string"}, "entries": {"type": "array", "items": _ANY}}, "account", "entries"
    ),
    "Explanation": _object(
        {"account": {"type": "string"}, "status": _STATUS, "findings": {"type": "array", "items": _ANY}},
        *("account", "status", "findings"),
    ),
    "Client": _object(
        {
            "name": {"type": "string"},
            **{name: schema for name, schema in _CLIENT.items() if name != "client_secret"},
            "has_secret": {"type": "boolean"},
            "accounts": _INT,
            "created_at": _TIME,
            "changed_at": _TIME,
        },
        *("name", "provider"),
    ),
    "ClientList": _object({"clients": _list("Client")}, "clients"),
    "AppliedClient": _object(
        {"client": {"type": "string"}, "outcome": {"type": "string"}}, "client", "outcome"
    ),
    "RemovedClient": _object({"client": {"type": "string"}}, "client"),
    **CONNECT_SCHEMAS,
}
