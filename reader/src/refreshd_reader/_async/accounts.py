"""The client of the run-time API; `refreshd_reader.api` describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, Self
from uuid import uuid4

import httpx

from refreshd_reader._async.api_calls import AsyncCalls
from refreshd_reader.api_answers import (
    Account,
    AccountBrief,
    Applied,
    ConnectSession,
    Event,
    Granted,
    OpenedSession,
    Refreshed,
    RowResult,
    Status,
)
from refreshd_reader.api_errors import ApiError, ApiUnreachable
from refreshd_reader.api_wire import (
    NDJSON,
    EventLines,
    Rows,
    account_path,
    given,
    in_requests,
    list_query,
    token_of,
)
from refreshd_reader.contract import Token

#: A call to the provider takes a worker this much longer.
_PROVIDER_S: Final = 40.0
#: The API sends something every 15 s.
_SILENCE_S: Final = 45.0
#: A page of a list.
_PAGE: Final = 500


class AsyncAccounts:
    """Accounts through the run-time API. One event loop, any number of tasks.

    Requests are made again (`retries`) where the API can't be reached, asks for patience, or lacks a store or a worker, if
    to do them twice is as good as once. POSTs carry an `Idempotency-Key`.

    Args:
        url: of the API, such as `https://connect.example.com`.
        key: `rk_ID_SECRET`, of `refreshd api-keys create`.
        timeout_s: for an answer.
        retries: how often a request is made again.
        client: an httpx client to use in place of one of its own. It stays yours to close.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 30.0,
        retries: int = 2,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._calls = AsyncCalls(url, key, timeout_s=timeout_s, retries=retries, client=client)

    async def put_grant(
        self,
        account: str,
        grant: Mapping[str, Any] | None = None,
        *,
        verify: bool = False,
        **fields: Any,
    ) -> Granted:
        """Store a new grant: the customer consented, for the first time or again.

        Args:
            account: its id.
            grant: the token response as it came.
            verify: refresh once first, and store nothing where the provider refuses.
            **fields: in place of `grant` or beside it: `access_token`, `refresh_token`, `expires_in`, `scope` and the like.

        Raises:
            NotFound: there is no such account; `put` makes one.
            GrantRefused: the provider refused it (`verify`).
            ApiError: any other problem.
        """
        body = {**(grant or {}), **fields, **({"verify": True} if verify else {})}
        found: Granted = await self._calls.json(
            "PUT",
            account_path(account, "/grant"),
            body,
            longer_s=_PROVIDER_S if verify else 0.0,
            repeatable=not verify,  # a second refresh would use a refresh token that the first has spent
        )
        return found

    async def put(self, account: str, **fields: Any) -> Applied:
        """Create an account, or change its configuration: fields of an accounts file (docs/accounts.md), None takes one back."""
        found: Applied = await self._calls.json("PUT", account_path(account), fields)
        return found

    async def patch(self, account: str, **fields: Any) -> Applied:
        """Change an account that exists; fields as those of `put`."""
        found: Applied = await self._calls.json("PATCH", account_path(account), fields)
        return found

    async def get(self, account: str) -> Account:
        """Return what is known of an account: never a secret."""
        found: Account = await self._calls.json("GET", account_path(account))
        return found

    async def list(
        self,
        *,
        status: Status | None = None,
        provider: str | None = None,
        client: str | None = None,
        labels: Mapping[str, str] | None = None,
        changed_since: float | None = None,
    ) -> AsyncIterator[AccountBrief]:
        """Yield accounts in the order of their ids, a page after the other.

        Args:
            status: only those in this status.
            provider: only this provider's.
            client: only this client's.
            labels: only those with all of these labels.
            changed_since: only those whose status changed then or since, epoch seconds.
        """
        filters = {
            "status": status,
            "provider": provider,
            "client": client,
            "changed_since": changed_since,
            "limit": _PAGE,
        }
        query = list_query(filters, labels)
        while True:
            page = await self._calls.json("GET", "/v1/accounts", query=query)
            for one in page["accounts"]:
                yield one
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def reconnectable(
        self, *, labels: Mapping[str, str] | None = None, changed_since: float | None = None
    ) -> AsyncIterator[AccountBrief]:
        """Yield the accounts whose customers have to consent again: those in `reauthorize`."""
        return self.list(status="reauthorize", labels=labels, changed_since=changed_since)

    async def delete(self, account: str, *, revoke: bool = False) -> None:
        """Remove an account; with `revoke` its grant is ended at the provider first, and nothing removed where that fails."""
        await self._calls.json(
            "DELETE",
            account_path(account),
            query={"revoke": "true"} if revoke else None,
            longer_s=_PROVIDER_S if revoke else 0.0,
            repeatable=False,  # a second time it is not found
        )

    async def refresh(self, account: str, *, force: bool = False, wait_s: float = 0.0) -> Refreshed:
        """Have a worker refresh an account.

        Args:
            account: its id.
            force: also where it is not due, paused or disabled.
            wait_s: how long to wait for the outcome; up to 120. Without it the outcome is `queued`.
        """
        found: Refreshed = await self._calls.json(
            "POST",
            account_path(account, "/refresh"),
            {"force": force, "wait_s": wait_s},
            headers=_new_key(),
            longer_s=wait_s,
        )
        return found

    async def token(self, account: str, min_lifetime_s: float = 0.0) -> Token:
        """Return the account's token, where Redis can't be reached (`Reader` reads it there) and the API gives tokens out.

        Raises:
            NoToken: there is none that lasts so long; `reason` says why.
        """
        query = {"min_lifetime_s": min_lifetime_s} if min_lifetime_s else None
        return token_of(await self._calls.json("GET", account_path(account, "/token"), query=query))

    async def rejected(self, account: str, generation: int, http_status: int = 401) -> None:
        """Report that an API refused this generation of the account's token: workers refresh at once."""
        await self._calls.json(
            "POST",
            account_path(account, "/token/rejected"),
            {"generation": generation, "http_status": http_status},
            headers=_new_key(),
        )

    async def history(self, account: str, limit: int = 20) -> Sequence[dict[str, Any]]:
        """Return the latest attempts and what people did, oldest first, as `refreshd history --json` has them."""
        found = await self._calls.json("GET", account_path(account, "/history"), query={"limit": limit})
        entries: Sequence[dict[str, Any]] = found["entries"]
        return entries

    async def explain(self, account: str) -> dict[str, Any]:
        """Return whether the account is well, and if not, what to do: `refreshd explain --json`."""
        found: dict[str, Any] = await self._calls.json("GET", account_path(account, "/explain"))
        return found

    async def batch(
        self, rows: Iterable[Mapping[str, Any]], *, replace_tokens: bool = False
    ) -> AsyncIterator[RowResult]:
        """Yield what becomes of each row of an accounts file, in order, while rows go out some thousands at a time.

        Args:
            rows: each with an `id`; any number of them.
            replace_tokens: a row's tokens replace stored ones that are newer.
        """
        for request in in_requests(rows):
            for result in await self._sent(request, replace_tokens=replace_tokens):
                yield result

    async def connect_session(
        self,
        account: str,
        client: str | None,
        return_url: str,
        *,
        resource: str | None = None,
        issuer: str | None = None,
        provider: str | None = None,
        scope: str | None = None,
        labels: Mapping[str, str] | None = None,
        custom_fields: Mapping[str, str] | None = None,
        expires_in_s: float | None = None,
    ) -> OpenedSession:
        """Open a Connect session (docs/connect.md): send the customer's browser to its `url`, and remember its `id`.

        Args:
            account: a new id, or one that is to be connected again.
            client: the client's name; None: the account's own, or one that is found by the resource or the issuer.
            return_url: where the browser comes back to; the client's `return_urls` allow it.
            resource: a protected resource, such as an MCP server, by its URL.
            issuer: an authorization server, in the place of a resource.
            provider: checked against the client's.
            scope: what is asked for, in place of the account's or the provider's.
            labels: of an account that is made.
            custom_fields: of the account.
            expires_in_s: how long it may be begun.
        """
        body = given(
            account=account,
            client=client,
            return_url=return_url,
            resource=resource,
            issuer=issuer,
            provider=provider,
            scope=scope,
            labels=labels,
            custom_fields=custom_fields,
            expires_in_s=expires_in_s,
        )
        found: OpenedSession = await self._calls.json(
            "POST", "/v1/connect/sessions", body, headers=_new_key()
        )
        return found

    async def get_connect_session(self, session: str) -> ConnectSession:
        """Return what became of a Connect session. What the browser brought back is a hint; this is what happened."""
        found: ConnectSession = await self._calls.json("GET", f"/v1/connect/sessions/{session}")
        return found

    async def events(self, after: str | None = None) -> AsyncIterator[Event]:
        """Yield what happens, as it happens, without an end (docs/events.md).

        A connection that ends is made again, and nothing is missed that Redis still has. It raises where that fails more than
        `retries` times in a row.

        Args:
            after: the id of the last event that was handled; None: begin now.
        """
        reading, tries = EventLines(after), 0
        while True:
            try:
                headers = {} if reading.last_id is None else {"last-event-id": reading.last_id}
                async with self._calls.lines(
                    "GET", "/v1/events", headers=headers, silence_s=_SILENCE_S
                ) as lines:
                    async for line in lines:
                        tries = 0
                        if (event := reading.take(line)) is not None:
                            yield event
                raise ApiUnreachable("GET /v1/events: the stream ended")
            except ApiError as error:
                reading, tries = EventLines(reading.last_id), tries + 1
                await self._calls.pause(tries, error)

    async def close(self) -> None:
        """Close the client, where it is its own."""
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _sent(self, request: Rows, *, replace_tokens: bool) -> Iterable[RowResult]:
        """Send rows of a batch, again where that may help: to send them twice changes nothing."""
        tries = 0
        while True:
            try:
                async with self._calls.lines(
                    "POST",
                    "/v1/accounts:batch",
                    query={"replace_tokens": "true"} if replace_tokens else None,
                    content=request.body,
                    headers={"content-type": NDJSON},
                    silence_s=_SILENCE_S,
                ) as lines:
                    return tuple(request.results([line async for line in lines]))
            except ApiError as error:
                tries += 1
                await self._calls.pause(tries, error)


def _new_key() -> dict[str, str]:
    """Return a header that lets a POST be made again."""
    return {"idempotency-key": str(uuid4())}
