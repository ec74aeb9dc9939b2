"""Problem details (RFC 9457): every error of the API, each with a stable name, and what to do about it.

A problem never quotes what was sent: any value may be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from msgspec import Struct
from starlette.responses import JSONResponse

MEDIA_TYPE: Final = "application/problem+json"


class Kind(Enum):
    """A kind of problem: its status and title. Its name in small letters ends the URI of its type."""

    MALFORMED = 400, "The request can't be read"
    UNAUTHENTICATED = 401, "A valid API key is missing"
    FORBIDDEN = 403, "The API key does not allow this"
    NOT_FOUND = 404, "There is no such thing"
    METHOD_NOT_ALLOWED = 405, "The method does not fit this URL"
    TOO_SLOW = 408, "The request's body came too slowly"
    CONFLICT = 409, "It can't be done as things stand"
    UNDER_WAY = 409, "The same request is under way"
    NO_TOKEN = 409, "There is no usable token"
    TOO_LARGE = 413, "The request's body is too large"
    UNSUPPORTED_MEDIA_TYPE = 415, "The body's media type is not accepted"
    INVALID = 422, "Fields can't be accepted"
    REFUSED_BY_PROVIDER = 422, "The provider refuses the grant"
    KEY_REUSED = 422, "The Idempotency-Key was used for another request"
    TOO_MANY_REQUESTS = 429, "The API key has used up its requests"
    TOO_MANY_LISTENERS = 429, "As many clients listen to events as are served"
    HEADERS_TOO_LARGE = 431, "The request's headers are too large"
    DEFECT = 500, "The API met a defect of its own"
    UNAVAILABLE = 503, "A store does not answer"
    PROVIDER_UNAVAILABLE = 503, "The provider can't be asked now"
    NO_WORKER = 504, "No worker answered in time"

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return int(self.value[0])

    @property
    def title(self) -> str:
        """Return the title, in words."""
        return str(self.value[1])

    @property
    def type(self) -> str:
        """Return the URI reference of the type: its paragraph in the API's own documentation."""
        return f"/docs#problem-{self.name.lower().replace('_', '-')}"


class FieldError(Struct, frozen=True):
    """A field that can't be accepted, and why."""

    field: str
    reason: str
    #: The reason's name for programs, where it has one.
    code: str | None = None

    def to_json(self) -> dict[str, str]:
        """Return the members of the error."""
        found = {"field": self.field, "reason": self.reason}
        return found if self.code is None else found | {"code": self.code}


class Problem(Exception):
    """A request that ends with a problem.

    Args:
        kind: which.
        detail: what is wrong here, and what to do. It quotes nothing that was sent.
        errors: fields and reasons.
        headers: further headers of the answer.
        more: further members of the answer.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def to_json(self) -> dict[str, Any]:
        """Return the members of the problem."""
        found: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.errors:
            found["errors"] = [one.to_json() for one in self.errors]
        return self.more | found

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.to_json(), self.kind.status, headers=self.headers, media_type=MEDIA_TYPE)


def invalid(*errors: FieldError) -> Problem:
    """Return the problem of fields that can't be accepted."""
    what = "; ".join(f"{one.field}: {one.reason}" for one in errors[:3])
    more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""  # noqa: PLR2004
    return Problem(Kind.INVALID, f"{what}{more}", errors=errors)


def no_such_account() -> Problem:
    """Return the problem of an account that is not there, or not this key's."""
    return Problem(Kind.NOT_FOUND, "no account has this id; GET /v1/accounts lists those that this key sees")


#: Which kind a framework's own error is.
OF_STATUS: Final = {
    kind.status: kind
    for kind in (
        *(Kind.MALFORMED, Kind.NOT_FOUND, Kind.METHOD_NOT_ALLOWED, Kind.TOO_LARGE),
        *(Kind.UNSUPPORTED_MEDIA_TYPE, Kind.INVALID, Kind.DEFECT),
    )
}
