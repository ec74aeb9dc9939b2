"""Who asks: an API key, its scopes, and the labels that it is bound to."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security.http import HTTPBearer
from msgspec import Struct
from starlette.requests import HTTPConnection

from models.tables.account import Account
from models.tables.api_key import ApiScope, Credential
from worker.api.context import ApiContext
from worker.api.params import check_query
from worker.api.problems import Kind, Problem, no_such_account

_CHALLENGE: Final = 'Bearer realm="refreshd"'
_HOW: Final = (
    "send `Authorization: Bearer rk_ID_SECRET`; `refreshd api-keys create NAME --scope ...` makes a key, "
    "`refreshd api-keys list` shows which ones are valid"
)


async def context_of(request: Request) -> ApiContext:
    """Return what the process stands on.

    A coroutine, though it awaits nothing: FastAPI calls a plain function in a thread, for each request.
    """
    found: ApiContext = request.app.state.context()
    return found


Here = Annotated[ApiContext, Depends(context_of)]


class Caller(Struct, frozen=True):
    """The key that a request was made with."""

    key_id: str
    #: Whom the audit trail names.
    name: str
    scopes: frozenset[str]
    #: It sees and touches only accounts that have all of these labels.
    labels: Mapping[str, str]
    #: What it sent: an answer that takes long asks again whether it holds.
    credential: Credential

    def may(self, scope: ApiScope) -> bool:
        """Return whether it has a scope."""
        return scope in self.scopes or ApiScope.ADMIN in self.scopes

    def sees(self, labels: Mapping[str, str]) -> bool:
        """Return whether it sees an account with these labels."""
        return all(labels.get(name) == value for name, value in self.labels.items())

    def seen(self, account: Account | None) -> Account:
        """Return an account that it sees.

        Raises:
            Problem: there is none; of one with other labels it learns the same.
        """
        if account is None or not self.sees(account.label_set):
            raise no_such_account()
        return account


class _Bearer(HTTPBearer):
    """Documents the scheme in OpenAPI; `caller_of` does the work, and answers with problems."""

    async def __call__(self, request: HTTPConnection) -> None:
        """Check nothing."""


_SCHEME: Final = _Bearer(
    scheme_name="apiKey", bearerFormat="rk_ID_SECRET", description="A key of `refreshd api-keys create`."
)


async def caller_of(request: Request, here: Here) -> Caller:
    """Return who asks.

    Raises:
        Problem: no valid key was sent, or it has used up its requests.
    """
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        raise Problem(
            Kind.UNAUTHENTICATED, f"no API key was sent; {_HOW}", headers={"WWW-Authenticate": _CHALLENGE}
        )
    sent = Credential.parse(text.strip()) if scheme.lower() == "bearer" else None
    key = None if sent is None else await here.key_cache.key_of(sent)
    if sent is None or key is None:
        raise _not_valid()
    allowance = here.limits_of_keys.take(key.id, time.monotonic())
    request.state.rate_limit, request.state.key_name = allowance.headers, key.name
    if not allowance.allowed:
        raise Problem(
            Kind.TOO_MANY_REQUESTS,
            f"more than REFRESHD_API_REQUESTS_PER_S={here.api.requests_per_s:g} requests a second; "
            f"try again in {allowance.headers['Retry-After']} s",
            headers={"Retry-After": allowance.headers["Retry-After"]},
        )
    return Caller(key.id, key.name, key.scope_set, key.label_set, sent)


def _not_valid() -> Problem:
    return Problem(
        Kind.UNAUTHENTICATED,
        f"not a valid API key (unknown, revoked or over); {_HOW}",
        headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
    )


async def still_valid(here: ApiContext, caller: Caller) -> bool:
    """Return whether a caller's key holds yet, as a request would be let in or not.

    Raises:
        DatabaseUnreachable: it can't be looked up.
    """
    return await here.key_cache.key_of(caller.credential) is not None


async def check_still_valid(here: ApiContext, caller: Caller) -> None:
    """Check that a caller's key holds yet.

    Raises:
        Problem: it was revoked, or is over.
        DatabaseUnreachable: it can't be looked up.
    """
    if not await still_valid(here, caller):
        raise _not_valid()


def allowed(*scopes: ApiScope) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency that lets in keys with one of these scopes, and no query that its route does not know."""
    words = " or ".join(scopes)

    async def check(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if not any(caller.may(scope) for scope in scopes):
            raise Problem(
                Kind.FORBIDDEN,
                f"the key lacks the scope {words}; `refreshd api-keys create NAME --scope {scopes[0]}` makes one that has it",
                headers={
                    "WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scopes[0]}"'
                },
            )
        check_query(request)
        return caller

    check.__name__ = f"allowed_{'_'.join(scopes)}"
    return check


documented = Depends(_SCHEME)
Reads = Annotated[Caller, Depends(allowed(ApiScope.ACCOUNTS_READ))]
may_write: Final = allowed(ApiScope.ACCOUNTS_WRITE)
Writes = Annotated[Caller, Depends(may_write)]
ReadsTokens = Annotated[Caller, Depends(allowed(ApiScope.TOKENS_READ))]
Administers = Annotated[Caller, Depends(allowed(ApiScope.ADMIN))]
