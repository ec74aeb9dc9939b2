"""`GET /v1/events`: what happens, as server-sent events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from worker.api.auth import Caller, Here, Reads, still_valid
from worker.api.context import ApiContext
from worker.api.document.openapi import describes
from worker.api.event_hub import AT_ONCE, Batch, Entry, order_of
from worker.api.problems import FieldError, Kind, Problem, invalid
from worker.errors import DatabaseUnreachable
from worker.log import log

router = APIRouter(tags=["events"])

#: A client that takes nothing for so long is given up: what it has not read waits for it in Redis.
UNREAD_S: Final = 30.0
#: An id of an entry of a Redis stream, each half of 64 bits.
_EVENT_ID: Final = re.compile(r"\d{1,19}(-\d{1,19})?")


@router.get("/v1/events", **describes("stream_events", "Stream events", None, 429))
async def stream_events(
    request: Request,
    here: Here,
    caller: Reads,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="The stream goes on behind this event (0: from the first one that is kept); without it, from now on.",
        ),
    ] = None,
) -> Response:
    """Entries of `refreshd:events` (docs/events.md) as they come: `id`, `event` (the type) and `data`, a JSON object.

    A client that was away sends `Last-Event-ID` (browsers do so by themselves) and misses nothing that Redis still has, some
    100,000 events. A key with labels gets the events of its accounts alone. A key that is revoked or over gets no more, and the
    stream ends with the next event or heartbeat.
    """
    if last_event_id is not None and not _EVENT_ID.fullmatch(last_event_id):
        raise invalid(
            FieldError(
                "Last-Event-ID", "not the id of an event; expected NUMBER-NUMBER, or 0 for the beginning"
            )
        )
    if last_event_id is not None and "-" not in last_event_id:
        last_event_id = f"{last_event_id}-0"
    if here.event_clients >= here.api.event_clients:
        raise Problem(
            Kind.TOO_MANY_LISTENERS,
            "as many clients as this process serves listen (REFRESHD_API_EVENT_CLIENTS); try again later",
            headers={"Retry-After": "30"},
        )
    # Taken before anything is awaited: of many that come at once, no more than that many pass.
    here.event_clients += 1
    try:
        begin = await here.events.newest()
    except BaseException:
        here.event_clients -= 1
        raise
    return _Listening(
        here,
        _stream(here, caller, request, begin, last_event_id),
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

        async def soon(message: Message) -> None:
            async with asyncio.timeout(UNREAD_S):
                await send(message)

        try:
            await super().__call__(scope, receive, soon)
        except (TimeoutError, ClientDisconnect):
            log.info("event_client_left_behind")
        finally:
            self._here.event_clients -= 1


async def _stream(
    here: ApiContext, caller: Caller, request: Request, batch: Batch, last_event_id: str | None = None
) -> AsyncIterator[str]:
    """Yield what a client gets: first what it has missed since `last_event_id`, then every batch behind `batch`."""
    hub, last = here.events, last_event_id or batch.last
    is_behind = last_event_id is not None
    try:
        yield _place(last)
        while not await request.is_disconnected():
            seen = await hub.since(last) if is_behind else []
            is_behind = len(seen) == AT_ONCE
            if not seen:
                await batch.came.wait()
                if batch.next is None or hub.is_left_behind(batch):
                    return
                batch = batch.next
                seen = [one for one in batch.entries if order_of(one.id) > order_of(last)]
            if not await still_valid(here, caller):
                log.info("event_client_key_ended", key=caller.name)
                return
            last = seen[-1].id if seen else last
            yield "".join(one.text for one in seen if _sees(caller, one)) or _place(last)
    except (RedisError, OSError, DatabaseUnreachable) as error:
        # The client comes again by itself, and goes on behind the last event that it has.
        log.warning("event_stream_ended", error=str(error))


def _sees(caller: Caller, entry: Entry) -> bool:
    """Return whether a caller sees an event: a key with labels sees those of accounts that had its labels then.

    An entry names the labels of its account as they were. Where an older release wrote none, such a key does not get it: whose
    the account was is not known any more.
    """
    return caller.sees(entry.labels)


def _place(last: str) -> str:
    """Return an id without data: no event, but a client that comes again goes on there, even if it has seen none yet."""
    return f": connected\nid: {last}\n\n"
