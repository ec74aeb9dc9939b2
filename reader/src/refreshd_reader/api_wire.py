"""What goes over the API's wire: URLs, pages' queries, rows of a batch, and events; no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from refreshd_reader.api_answers import Event, RowResult
from refreshd_reader.api_errors import ApiError, ApiProblem, ApiUnreachable
from refreshd_reader.contract import Token

#: A batch goes out in requests of so many rows and bytes, so that results come as it goes and one is soon sent again.
ROWS: Final = 5_000
ROWS_BYTES: Final = 8 * 1024 * 1024
NDJSON: Final = "application/x-ndjson"
#: Between tries, where the API names no time; doubled each time.
PAUSE_S: Final = 0.25
#: A time that the API names is waited for up to this long; a caller decides on longer ones.
PAUSE_MAX_S: Final = 10.0


def account_path(account: str, rest: str = "") -> str:
    """Return the path of an account."""
    return f"/v1/accounts/{quote(account, safe='')}{rest}"


def given(**members: Any) -> dict[str, Any]:
    """Return the members that have a value."""
    return {name: value for name, value in members.items() if value is not None}


def list_query(filters: Mapping[str, Any], labels: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the query of a list."""
    return given(**filters) | {f"label.{name}": value for name, value in (labels or {}).items()}


def pause_s(tries: int, problem: ApiError) -> float:
    """Return how long to wait before the next try.

    Args:
        tries: made so far.
        problem: that the last one ended with.
    """
    named = problem.retry_after_s if isinstance(problem, ApiProblem) else None
    return min(named if named is not None else PAUSE_S * 2.0 ** (tries - 1), PAUSE_MAX_S)


def token_of(answer: Mapping[str, Any]) -> Token:
    """Return the token of an answer."""
    return Token(
        access_token=answer["access_token"],
        generation=answer["generation"],
        token_type=answer["token_type"],
        scope=answer.get("scope"),
        issued_at=answer.get("issued_at"),
        expires_at=answer.get("expires_at"),
        extra=answer.get("extra") or {},
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one request of a batch. `before`: so many went before them."""

    before: int
    count: int
    body: bytes

    def results(self, lines: Iterable[str]) -> Iterator[RowResult]:
        """Yield results, numbered as the whole batch's rows are.

        Raises:
            ApiUnreachable: the answer ended before its time; the rows can be sent again.
        """
        for text in lines:
            result: RowResult = json.loads(text)
            if not result["line"]:
                raise ApiUnreachable(f"POST /v1/accounts:batch: {result['errors'][0]['reason']}")
            yield {**result, "line": result["line"] + self.before}


def in_requests(rows: Iterable[Mapping[str, Any]]) -> Iterator[Rows]:
    """Yield rows as bodies of requests."""
    before, lines, size = 0, list[bytes](), 0
    for row in rows:
        line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        if lines and (len(lines) >= ROWS or size + len(line) > ROWS_BYTES):
            yield Rows(before, len(lines), b"".join(lines))
            before, lines, size = before + len(lines), [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield Rows(before, len(lines), b"".join(lines))


class EventLines:
    """Reads server-sent events, line by line.

    Attributes:
        last_id: behind which the stream goes on; None before anything came.
    """

    def __init__(self, last_id: str | None) -> None:
        self.last_id = last_id
        self._id: str | None = None
        self._type = "event"
        self._data: list[str] = []

    def take(self, line: str) -> Event | None:
        """Take a line; return the event that it ends."""
        if not line:
            return self._ended()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                self._id = value
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
        return None

    def _ended(self) -> Event | None:
        found: Event | None = None
        if self._id is not None:
            self.last_id = self._id  # an id without data is a place, and no event
            if self._data:
                found = Event(self._id, self._type, json.loads("\n".join(self._data)))
        self._id, self._type, self._data = None, "event", []
        return found
