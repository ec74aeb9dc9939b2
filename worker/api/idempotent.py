"""POSTs that may be sent twice: with an `Idempotency-Key` the second one gets the answer of the first."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import Header, Request
from starlette.responses import JSONResponse, Response

from worker.api.auth import Caller
from worker.api.context import ApiContext
from worker.api.problems import MEDIA_TYPE, FieldError, Kind, Problem, invalid
from worker.db.intake.idempotency import Standing

_KEY: Final = re.compile(r"[!-~]{1,255}")
#: From this status on a request may have changed nothing, and is worth trying again.
_PASSING: Final = 500
_PROBLEM: Final = 400

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 255 printable characters, new for each request that is meant anew. A repetition within a day gets "
        "the first answer; another body under the same key is a 422, one that is still under way a 409.",
        pattern=r"^[!-~]{1,255}$",
    ),
]


async def once(
    here: ApiContext,
    caller: Caller,
    request: Request,
    work: Callable[[], Awaitable[tuple[int, dict[str, Any]]]],
) -> Response:
    """Do what a POST asks for, or answer as it was answered before.

    Args:
        here: the stores.
        caller: whose key it is.
        request: its body has been read.
        work: does it; returns the status and body of the answer.

    Raises:
        Problem: the key was used for another request, or the same request is under way.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return _answer(*await work())
    if not _KEY.fullmatch(key):
        raise invalid(FieldError("Idempotency-Key", "expected 1 to 255 printable ASCII characters"))
    asked = f"{request.method} {request.url.path}\0".encode() + await request.body()
    begun = await here.write(
        lambda: here.idempotency.begin(caller.key_id, key, hashlib.sha256(asked).hexdigest())
    )
    match begun.standing:
        case Standing.OTHER:
            raise Problem(
                Kind.KEY_REUSED,
                "this Idempotency-Key was sent with another request; make a new one for each",
                errors=[FieldError("Idempotency-Key", "used for another request")],
            )
        case Standing.UNDER_WAY:
            raise Problem(
                Kind.UNDER_WAY,
                "a request with this Idempotency-Key is under way; try again",
                headers={"Retry-After": "1"},
            )
        case Standing.ANSWERED:
            return _answer(begun.status, json.loads(begun.body), replayed=True)
    return await _first(here, caller.key_id, key, work)


async def _first(
    here: ApiContext, key_id: str, key: str, work: Callable[[], Awaitable[tuple[int, dict[str, Any]]]]
) -> Response:
    try:
        status, body = await work()
    except Problem as problem:
        if problem.kind.status >= _PASSING:
            await here.write(lambda: here.idempotency.forget(key_id, key))
            raise
        status, body = problem.kind.status, problem.to_json()
    except BaseException:
        await here.write(lambda: here.idempotency.forget(key_id, key))
        raise
    await here.write(lambda: here.idempotency.answer(key_id, key, status=status, body=json.dumps(body)))
    return _answer(status, body)


def _answer(status: int, body: dict[str, Any], *, replayed: bool = False) -> Response:
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    media_type = MEDIA_TYPE if status >= _PROBLEM else None
    return JSONResponse(body, status, headers=headers, media_type=media_type)
