"""Every error that the client of the API raises on purpose.

    ApiError
    ├── ApiUnreachable           no connection, or no answer in time
    └── ApiProblem               the API answered, and did not do it: `status`, `type`, `title`, `detail`, `errors`
        ├── Unauthenticated      401: no valid key
        ├── Forbidden            403: the key lacks a scope, or the API does not do this
        ├── NotFound             404: no such account or session, or not this key's
        ├── Conflict             409: it can't be done as things stand
        │   └── NoToken          there is no token to use: `account_status`, `reason`
        ├── Invalid              422: fields can't be accepted; `errors` names them
        │   └── GrantRefused     the provider refused a grant that was to be verified: `verdict`
        ├── TooManyRequests      429: the key has used up its requests
        └── Unavailable          503, 504: a store or every worker is away

A message says what the API said, which quotes no secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

#: How a `type` of a problem ends.
_UNDER_WAY: Final = "#problem-under-way"
_NO_TOKEN: Final = "#problem-no-token"
_REFUSED_BY_PROVIDER: Final = "#problem-refused-by-provider"


class ApiError(Exception):
    """Something that a caller of the API can act on."""


class ApiUnreachable(ApiError):
    """The API can't be reached, or does not answer in time; whether it did what it was asked is unknown."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """A field that can't be accepted, and why."""

    field: str
    reason: str
    #: The reason's name, where it has one: `no_metadata` of an address that leads to no authorization server, say.
    code: str | None = None


class ApiProblem(ApiError):
    """The API's answer is a problem (RFC 9457).

    Attributes:
        status: the HTTP status.
        type: the URI reference of the problem's kind, a paragraph of the API's `/docs`.
        title: the kind in words.
        detail: what is wrong here, and what to do.
        errors: the fields that can't be accepted.
        retry_after_s: when to ask again, None where the API does not say.
        request_id: of the request, as the API's log has it.
        members: every member of the problem.
    """

    def __init__(self, status: int, headers: Mapping[str, str], members: Mapping[str, Any]) -> None:
        self.status = status
        self.members = dict(members)
        self.type = str(members.get("type", "about:blank"))
        self.title = str(members.get("title", "")) or f"HTTP {status}"
        self.detail = str(members.get("detail", ""))
        self.errors = tuple(
            FieldError(str(one.get("field", "")), str(one.get("reason", "")), one.get("code"))
            for one in members.get("errors", ())
            if isinstance(one, Mapping)
        )
        self.retry_after_s = _seconds(headers.get("retry-after"))
        self.request_id = headers.get("x-request-id")
        super().__init__(f"{status} {self.title}{f': {self.detail}' if self.detail else ''}")

    @property
    def is_passing(self) -> bool:
        """Whether the same request may well be answered otherwise in some seconds."""
        return self.status in {429, 503, 504} or self.type.endswith(_UNDER_WAY)


class Unauthenticated(ApiProblem):
    """No valid key was sent."""


class Forbidden(ApiProblem):
    """The key lacks a scope, or the API does not do this."""


class NotFound(ApiProblem):
    """There is no such account or session, or the key does not see it."""


class Conflict(ApiProblem):
    """It can't be done as things stand, such as a removal while the account is refreshed."""


class NoToken(Conflict):
    """There is no token to use."""

    @property
    def account_status(self) -> str:
        """The account's status, such as `reauthorize`."""
        return str(self.members.get("account_status", ""))

    @property
    def reason(self) -> str:
        """Why: the account's reason, `refresh_under_way` or `token_too_short`."""
        return str(self.members.get("reason", ""))


class Invalid(ApiProblem):
    """Fields can't be accepted."""


class GrantRefused(Invalid):
    """The provider refused a grant that was to be verified; nothing was stored."""

    @property
    def verdict(self) -> str:
        """What refreshing it came to, such as `reauthorize` (docs/verdicts.md)."""
        return str(self.members.get("verdict", ""))


class TooManyRequests(ApiProblem):
    """The key has used up its requests."""


class Unavailable(ApiProblem):
    """A store, or every worker, is away."""


_OF_TYPE: Final[dict[str, type[ApiProblem]]] = {_NO_TOKEN: NoToken, _REFUSED_BY_PROVIDER: GrantRefused}
_OF_STATUS: Final[dict[int, type[ApiProblem]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: TooManyRequests,
    503: Unavailable,
    504: Unavailable,
}


def problem_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiProblem:
    """Return the error of an answer that is no success. A body that is no problem, as a proxy's, is not quoted."""
    members: Mapping[str, Any] = {}
    if headers.get("content-type", "").partition(";")[0].strip() == "application/problem+json":
        try:
            found = json.loads(body)
        except ValueError:
            found = {}
        members = found if isinstance(found, dict) else {}
    kind = str(members.get("type", ""))
    made = _OF_TYPE.get(f"#{kind.partition('#')[2]}") or _OF_STATUS.get(status, ApiProblem)
    return made(status, headers, members)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
