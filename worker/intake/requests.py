"""A request to a worker, and its reply. The request is sealed to the intake key; no reply holds a secret.

A request is carried out once: its id is part of what is sealed, and of the mark in Redis that it was taken. So a message
that is delivered again, or sent again by somebody who can write to the broker, changes nothing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.tables.audit import Actor
from models.token import Secret
from worker.crypto.cipher import Cipher
from worker.crypto.intake import IntakeSealer
from worker.errors import CipherError

TASK: Final = "refreshd.intake"
#: What a request is bound to beside its id.
_FIELD: Final = "intake"
#: An older request is not carried out, seconds: its message expires sooner, and clocks are off by less.
VALID_S: Final = 600.0
#: A mark of a taken request outlives the request.
TAKEN_KEPT_S: Final = 3_600
#: A reply that is not fetched is gone after this long, seconds.
REPLY_KEPT_S: Final = 60
#: A request and its envelope fit into a message (`worker/broker/messages.py`): base64 and JSON add two fifths.
REQUEST_MAX_BYTES: Final = 320 * 1024
_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
#: 128 bits: an id is guessed by nobody who could wait for its reply.
_ID_BYTES: Final = 16


class MalformedRequest(ValueError):
    """A request that does not open, or that none of ours can be. The text holds nothing of it."""


class RequestTooLong(ValueError):
    """A request that no message can carry."""


#: In the result of a reply: a provider, and no store, is what could not be asked; after so many seconds it may be.
RETRY_AFTER_S: Final = "retry_after_s"


class Op(StrEnum):
    """What a worker is asked for."""

    PUT_ACCOUNT = "put_account"
    PATCH_ACCOUNT = "patch_account"
    REMOVE_ACCOUNT = "remove_account"
    IMPORT_ACCOUNTS = "import_accounts"
    PUT_GRANT = "put_grant"
    VERIFY_GRANT = "verify_grant"
    PUT_CLIENT = "put_client"
    REMOVE_CLIENT = "remove_client"
    #: Find an authorization server by an address, and a client for it.
    PREPARE_CONNECT = "prepare_connect"
    #: Push what a session's consent is asked with.
    PUSH_CONSENT = "push_consent"
    EXCHANGE_CODE = "exchange_code"


class Code(StrEnum):
    """What became of a request."""

    DONE = "done"
    #: What is to be stored can't be; `problems` says why.
    REFUSED = "refused"
    #: There is no such account or client, or the asker may not see it.
    NOT_FOUND = "not_found"
    #: It changed again and again meanwhile, or is being refreshed.
    CONFLICT = "conflict"
    #: A store does not answer; or a provider does not, where the result has `RETRY_AFTER_S`.
    UNAVAILABLE = "unavailable"
    #: A defect; the worker's log has it.
    FAILED = "failed"


class FieldProblem(BaseModel):
    """A field that can't be stored, and why."""

    model_config = ConfigDict(frozen=True)

    field: str
    reason: str
    #: The reason's name, where it has one.
    code: str | None = None


class Reply(BaseModel):
    """What became of a request; it never holds a secret."""

    model_config = ConfigDict(frozen=True)

    code: Code
    result: dict[str, Any] = Field(default_factory=dict)
    problems: tuple[FieldProblem, ...] = ()
    detail: str = ""


class IntakeRequest(BaseModel):
    """A request in clear: in the process that makes it, and in the worker that carries it out."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    op: Op
    #: Whom the audit trail names.
    actor: str = Field(min_length=1, max_length=200)
    host: str = Field(max_length=255)
    #: The asker sees and touches only accounts that have these labels, and what it creates gets them.
    require_labels: dict[str, str] = Field(default_factory=dict)
    #: Its secrets are in clear here.
    payload: dict[str, Any] = Field(default_factory=dict, repr=False)
    #: Epoch seconds.
    sent_at: float

    @property
    def by(self) -> Actor:
        """Who asks."""
        return Actor(self.actor, self.host)


def new_request_id() -> str:
    """Return the id of a request: the name of its reply, and of the mark that it was taken."""
    return secrets.token_urlsafe(_ID_BYTES)


def is_request_id(text: object) -> bool:
    """Return whether a text can be a request's id."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def reply_key(prefix: str, request_id: str) -> str:
    """Name the list that a reply is pushed to."""
    return f"{prefix}reply:{{{request_id}}}"


def taken_key(prefix: str, request_id: str) -> str:
    """Name the mark that a request was taken."""
    return f"{prefix}intake:{{{request_id}}}"


def seal_request(request: IntakeRequest, request_id: str, sealer: IntakeSealer) -> str:
    """Return a request as its message carries it.

    Raises:
        RequestTooLong: it fits into no message.
    """
    text = request.model_dump_json()
    if len(text) > REQUEST_MAX_BYTES or len(text.encode()) > REQUEST_MAX_BYTES:
        raise RequestTooLong(f"a request is at most {REQUEST_MAX_BYTES:,} bytes: send less at once")
    return sealer.seal(Secret(text), account=request_id, field=_FIELD)


def open_request(sealed: str, request_id: str, cipher: Cipher, *, now: float) -> IntakeRequest:
    """Open a request.

    Raises:
        CipherError: it was changed, belongs to another id, or its key is not configured.
        MalformedRequest: it is none of ours, or too old.
    """
    text = cipher.open(sealed, account=request_id, field=_FIELD).reveal()
    try:
        request = IntakeRequest.model_validate_json(text)
    except ValidationError as error:
        raise MalformedRequest(f"{error.error_count()} fields of it are wrong") from None
    if abs(now - request.sent_at) > VALID_S:
        raise MalformedRequest(
            f"sent {abs(now - request.sent_at):,.0f} s away from now; expected {VALID_S:g} s at most: "
            "synchronize the machines' clocks (NTP)"
        )
    return request


def problems_of(problems: Mapping[str, str] | list[tuple[str, str]]) -> tuple[FieldProblem, ...]:
    """Return fields and reasons as a reply has them."""
    pairs = problems.items() if isinstance(problems, Mapping) else problems
    return tuple(FieldProblem(field=field, reason=reason) for field, reason in pairs)


__all__ = [
    "REPLY_KEPT_S",
    "REQUEST_MAX_BYTES",
    "RETRY_AFTER_S",
    "TAKEN_KEPT_S",
    "TASK",
    "CipherError",
    "Code",
    "FieldProblem",
    "IntakeRequest",
    "MalformedRequest",
    "Op",
    "Reply",
    "RequestTooLong",
    "is_request_id",
    "new_request_id",
    "open_request",
    "problems_of",
    "reply_key",
    "seal_request",
    "taken_key",
]
