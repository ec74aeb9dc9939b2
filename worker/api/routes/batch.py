"""`POST /v1/accounts:batch`: many rows in one request, a result a line as it goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from msgspec import Struct, field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.api.auth import Caller, Here, Writes, check_still_valid
from worker.api.bodies import media_type, parse_object
from worker.api.context import ApiContext
from worker.api.document.openapi import describes, ndjson_body
from worker.api.idempotent import IdempotencyKey
from worker.api.problems import Kind, Problem
from worker.api.replies import reply_of, result_of
from worker.errors import RefreshdError
from worker.intake.requests import Op, Reply
from worker.log import log

router = APIRouter(tags=["accounts"])

MEDIA_TYPE: Final = "application/x-ndjson"
_MEDIA_TYPES: Final = frozenset(
    {MEDIA_TYPE, "application/ndjson", "application/jsonl", "application/jsonlines"}
)
ROWS_MAX: Final = 100_000
#: Rows and bytes of one request to a worker: it fits into a message (`worker/intake/requests.py`), and a commit is short.
CHUNK_ROWS: Final = 500
CHUNK_BYTES: Final = 160 * 1024
#: No row of an accounts file is longer.
LINE_MAX: Final = 128 * 1024
#: Chunks that workers have at a time.
CHUNKS_AT_ONCE: Final = 4


class _Chunk(Struct):
    """Lines that go to a worker together. A line that can't be read has its result already."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    #: (number of the line, its row's place in `rows`, or its result)
    lines: list[tuple[int, int | dict[str, Any]]] = field(default_factory=list)
    size: int = 0

    @property
    def is_full(self) -> bool:
        return self.size >= CHUNK_BYTES or len(self.lines) >= CHUNK_ROWS


@router.post(
    "/v1/accounts:batch",
    **describes("batch_accounts", "Create or configure many accounts", None, *(400, 409, 413, 415, 504)),
    openapi_extra=ndjson_body(),
)
async def batch_accounts(
    request: Request,
    here: Here,
    caller: Writes,
    replace_tokens: Annotated[
        bool,
        Query(description="A row's tokens replace stored ones that are newer, as `import --replace-tokens`."),
    ] = False,
    _idempotency_key: IdempotencyKey = None,
) -> Response:
    """Newline-delimited JSON, a row of an accounts file a line, at most 100,000; answered line by line, in the same order.

    A result is `{"line", "account", "outcome"}`, with `generation` of what is stored, `changed` (names of fields, `labels` among them)
    where the outcome is `changed`, and `errors` where it is `failed`. `labels` of a row are all of the account's labels; a field
    `labels.NAME` sets one. Rows are all or nothing each; to send them again changes nothing (`unchanged`), whatever the
    `Idempotency-Key`.
    """
    if media_type(request) not in _MEDIA_TYPES:
        raise Problem(
            Kind.UNSUPPORTED_MEDIA_TYPE,
            f"expected Content-Type: {MEDIA_TYPE}, one JSON object a line",
            headers={"Accept": MEDIA_TYPE},
        )
    await here.intake()
    return _BatchResponse(here, caller, _chunks(request.stream()), replace_tokens=replace_tokens)


class _BatchResponse(Response):
    """Reads, asks workers and answers at once: whoever sends all before reading does not wait for themselves."""

    media_type = MEDIA_TYPE

    def __init__(
        self, here: ApiContext, caller: Caller, chunks: AsyncIterator[_Chunk], *, replace_tokens: bool
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._here = here
        self._caller = caller
        self._chunks = chunks
        self._options = {"replace_tokens": replace_tokens}

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer. An error before the first result is a problem; one behind it is its rows' result."""
        asked: asyncio.Queue[asyncio.Task[list[dict[str, Any]]] | Exception | None] = asyncio.Queue()
        feeding = asyncio.create_task(self._feed(asked))
        began = False
        try:
            while (next_one := await asked.get()) is not None:
                results = await self._results(next_one, began=began)
                if not began:
                    began = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                body = "".join(f"{json.dumps(one)}\n" for one in results).encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if not began:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
        finally:
            feeding.cancel()

    async def _feed(self, asked: asyncio.Queue[Any]) -> None:
        at_once = asyncio.Semaphore(CHUNKS_AT_ONCE)
        try:
            async for chunk in self._chunks:
                await at_once.acquire()
                task = asyncio.create_task(self._carried_out(chunk))
                task.add_done_callback(lambda _: at_once.release())
                asked.put_nowait(task)
        except Exception as error:  # noqa: BLE001  (whoever waits for results gets it)
            asked.put_nowait(error)
        asked.put_nowait(None)

    async def _results(
        self, one: asyncio.Task[list[dict[str, Any]]] | Exception, *, began: bool
    ) -> list[dict[str, Any]]:
        try:
            if isinstance(one, Exception):
                raise one
            return await one
        except (Problem, RefreshdError) as error:
            if not began:
                raise
            log.error("batch_ended_early", error=type(error).__name__)
            reason = error.detail if isinstance(error, Problem) else "no worker answered, or a store is away"
            return [_failed(0, "body", f"{reason}; send the rows that have no result again")]

    async def _carried_out(self, chunk: _Chunk) -> list[dict[str, Any]]:
        results: Sequence[Mapping[str, Any]] = []
        if chunk.rows:
            await check_still_valid(
                self._here, self._caller
            )  # a body may come for as long as its client likes
            payload = {"rows": chunk.rows, **self._options}
            reply: Reply = await reply_of(self._here, self._caller, Op.IMPORT_ACCOUNTS, payload)
            results = result_of(reply)["rows"]
        return [
            {**results[place], "line": number} if isinstance(place, int) else place
            for number, place in chunk.lines
        ]


async def _chunks(stream: AsyncIterator[bytes]) -> AsyncIterator[_Chunk]:
    """Yield the lines of a body, in chunks."""
    chunk, number = _Chunk(), 0
    async for raw in _lines(stream):
        number += 1
        if not raw.strip():
            continue
        if number > ROWS_MAX:
            chunk.lines.append(
                (number, _failed(number, "body", f"more than {ROWS_MAX:,} lines: send the rest again"))
            )
            break
        chunk.size += len(raw)
        try:
            row = _row(raw)
        except ValueError as error:
            chunk.lines.append((number, _failed(number, "row", str(error))))
        else:
            chunk.lines.append((number, len(chunk.rows)))
            chunk.rows.append(row)
        if chunk.is_full:
            yield chunk
            chunk = _Chunk()
    if chunk.lines:
        yield chunk


def _row(raw: bytes) -> dict[str, Any]:
    if len(raw) > LINE_MAX:
        raise ValueError(f"longer than {LINE_MAX:,} bytes")
    return parse_object(raw)


async def _lines(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield lines; of one that is far too long, its beginning."""
    rest = b""
    async for part in stream:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > LINE_MAX:
            rest = rest[: LINE_MAX + 1]
    if rest:
        yield rest


def _failed(line: int, field_name: str, reason: str) -> dict[str, Any]:
    return {
        "line": line,
        "account": None,
        "outcome": "failed",
        "errors": [{"field": field_name, "reason": reason}],
    }
