"""The OpenAPI 3.1 document: what FastAPI knows of the routes, and the bodies and problems that they share."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from worker.api.auth import documented
from worker.api.document.schemas import SCHEMAS
from worker.api.problems import MEDIA_TYPE, Kind

#: Problems that any route may answer with.
_EVERYWHERE: Final = (401, 403, 408, 422, 429, 431, 500, 503)
_DESCRIPTION: Final = (
    "Grants at run time. Send a key of `refreshd api-keys create` as `Authorization: Bearer rk_ID_SECRET`. "
    "Errors are problem details (RFC 9457). Times are epoch seconds (UTC)."
)
_LIMIT_HEADERS: Final = {
    "RateLimit": {
        "schema": {"type": "string"},
        "description": 'What the key has left: `"key";r=REMAINING;t=SECONDS`.',
    },
    "RateLimit-Policy": {
        "schema": {"type": "string"},
        "description": 'What it may use: `"key";q=QUOTA;w=SECONDS`.',
    },
}
_LABELS: Final = {
    "name": "label",
    "in": "query",
    "required": False,
    "style": "form",
    "explode": True,
    "description": "`label.NAME=VALUE`, repeatable: only accounts with all of these labels.",
    "schema": {
        "type": "object",
        "patternProperties": {
            "^label\\.[A-Za-z0-9._:@-]{1,128}$": {"$ref": "#/components/schemas/LabelText"}
        },
        "additionalProperties": False,
    },
}


def describes(
    operation: str,
    summary: str,
    schema: str | None,
    *problems: int,
    created: bool = False,
    accepted: bool = False,
    only: int = 200,
    query_labels: bool = False,
) -> dict[str, Any]:
    """Return the arguments of a route that describe it.

    Args:
        operation: the operation's id.
        summary: in some words.
        schema: of its answer; None: it is a stream.
        problems: statuses that it may answer with, beside those of every route.
        created: it may answer 201.
        accepted: it may answer 202.
        only: the status of its success.
        query_labels: it takes `label.NAME=VALUE`.
    """
    statuses = [only, *([201] if created else []), *([202] if accepted else [])]
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": "Done." if status == only else "Done, differently.", "x-schema": schema or ""}
        for status in statuses
    }
    responses |= {
        status: {"x-problem": True, "description": ""} for status in sorted({*_EVERYWHERE, *problems})
    }
    return {
        "operation_id": operation,
        "summary": summary,
        "responses": responses,
        "response_model": None,
        "status_code": only,
        "dependencies": [documented],
        **({"openapi_extra": {"parameters": [_LABELS]}} if query_labels else {}),
    }


def body_of(schema: str, *, required: bool = True) -> dict[str, Any]:
    """Return what describes a JSON body."""
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
    }


def ndjson_body() -> dict[str, Any]:
    """Return what describes a body of newline-delimited JSON."""
    return {
        "requestBody": {
            "required": True,
            "description": "One JSON object a line, each an `AccountRow`.",
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        }
    }


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document, made once."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
        for path in found["paths"].values():
            for operation in path.values():
                _complete(operation)
        components = found.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas |= SCHEMAS
        components["responses"] = {f"Problem{status}": _problem(status) for status in _statuses()}
        app.openapi_schema = found
    return app.openapi_schema


def _complete(operation: dict[str, Any]) -> None:
    """Put schemas and problems where a route's own description names them."""
    streams = {"stream_events": "text/event-stream", "batch_accounts": "application/x-ndjson"}
    for status, response in list(operation["responses"].items()):
        if response.pop("x-problem", False):
            operation["responses"][status] = {"$ref": f"#/components/responses/Problem{status}"}
        elif "x-schema" in response:
            schema = response.pop("x-schema")
            media = streams.get(operation["operationId"], "application/json")
            shape = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "string"}
            response |= {"headers": _LIMIT_HEADERS, "content": {media: {"schema": shape}}}


def _statuses() -> list[int]:
    return sorted({kind.status for kind in Kind})


def _problem(status: int) -> dict[str, Any]:
    kinds = [kind for kind in Kind if kind.status == status]
    return {
        "description": " / ".join(kind.title for kind in kinds) + ".",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
