"""`GET /v1/events`: what happens, as server-sent events."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from redis.exceptions import RedisError
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from worker.api.auth import Caller, Here, Reads
from worker.api.context import ApiContext
from worker.api.openapi import describes
from worker.api.problems import FieldError, Kind, Problem, invalid
from worker.db.accounts import Accounts
from worker.errors import DatabaseUnreachable
from worker.log import log

router = APIRouter(tags=["events"])

#: A comment so often keeps proxies and clients from giving a silent connection up.
HEARTBEAT_MS: Final = 15_000
#: Entries that are read at once.
_AT_ONCE: Final = 500
#: An id of an entry of a Redis stream, each half of 64 bits.
_EVENT_ID: Final = re.compile(r"\d{1,19}-\d{1,19}")
_NUMBERS: Final = frozenset({"generation", "at", "expires_at"})


@router.get("/v1/events", **describes("stream_events", "Stream events", None, 429))
async def stream_events(
    request: Request,
    here: Here,
    caller: Reads,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="The stream goes on behind this event; without it, from now on.",
        ),
    ] = None,
) -> Response:
    """Entries of `refreshd:events` (docs/events.md) as they come: `id`, `event` (the type) and `data`, a JSON object.

    A client that was away sends `Last-Event-ID` (browsers do so by themselves) and misses nothing that Redis still has, some
    100,000 events. A key with labels gets the events of its accounts alone.
    """
    if last_event_id is not None and not _EVENT_ID.fullmatch(last_event_id):
        raise invalid(FieldError("Last-Event-ID", "not the id of an event; expected NUMBER-NUMBER"))
    if here.event_clients >= here.api.event_clients:
        raise Problem(
            Kind.TOO_MANY_REQUESTS,
            "as many clients as this process serves listen (REFRESHD_API_EVENT_CLIENTS); try again later",
            headers={"Retry-After": "30"},
        )
    # Taken before anything is awaited: of many that come at once, no more than that many pass.
    here.event_clients += 1
    try:
        begin = last_event_id or await _newest(here)
    except BaseException:
        here.event_clients -= 1
        raise
    return _Listening(
        here,
        _stream(here, caller, request, begin),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


class _Listening(StreamingResponse):
    """A stream that gives the client's place back, however it ends, and if it never begins."""

    def __init__(self, here: ApiContext, stream: AsyncIterator[str], **options: Any) -> None:
        super().__init__(stream, **options)
        self._here = here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._here.event_clients -= 1


async def _newest(here: ApiContext) -> str:
    newest: Any = await here.async_redis.xrevrange(here.keys.events, count=1)
    return str(newest[0][0]) if newest else "0-0"


async def _stream(here: ApiContext, caller: Caller, request: Request, last: str) -> AsyncIterator[str]:
    try:
        yield _place(last)
        while not await request.is_disconnected():
            streams: Any = await here.async_redis.xread(
                {here.keys.events: last}, count=_AT_ONCE, block=HEARTBEAT_MS
            )
            entries: list[tuple[str, dict[str, str]]] = streams[0][1] if streams else []
            if entries:
                last = entries[-1][0]
            seen = await _seen(here, caller, entries)
            yield "".join(_event(one, fields) for one, fields in seen) or _place(last)
    except (RedisError, OSError, DatabaseUnreachable) as error:
        # The client comes again by itself, and goes on behind the last event that it has.
        log.warning("event_stream_ended", error=str(error))


async def _seen(
    here: ApiContext, caller: Caller, entries: list[tuple[str, dict[str, str]]]
) -> list[tuple[str, dict[str, str]]]:
    """Return the events that a caller sees: of accounts with its key's labels."""
    if not caller.labels or not entries:
        return entries
    ids = sorted({fields["account"] for _, fields in entries if "account" in fields})
    found = await here.read(lambda: Accounts(here.engine).find(ids))
    return [
        (one, fields)
        for one, fields in entries
        if (account := found.get(fields.get("account", ""))) is not None and caller.sees(account.label_set)
    ]


def _place(last: str) -> str:
    """Return an id without data: no event, but a client that comes again goes on there, even if it has seen none yet."""
    return f": connected\nid: {last}\n\n"


def _event(event_id: str, fields: Mapping[str, str]) -> str:
    """Return an event as it is sent; a field of a newer refreshd comes along as text."""
    data = {
        name: _number(value) if name in _NUMBERS else _value(name, value) for name, value in fields.items()
    }
    return f"id: {event_id}\nevent: {fields.get('type', 'event')}\ndata: {json.dumps(data)}\n\n"


def _value(name: str, text: str) -> Any:
    return json.loads(text) if name == "labels" and text.startswith("{") else text


def _number(text: str) -> float | int | str:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
