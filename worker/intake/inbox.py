"""Requests as they arrive in a worker: each is taken once, opened, carried out and answered."""

from __future__ import annotations

from typing import Any, Final

from redis.exceptions import RedisError

from worker.clock import wall_clock
from worker.errors import CipherError, RedisUnreachable
from worker.intake.carry_out import WorkerTools, carry_out
from worker.intake.requests import (
    REPLY_KEPT_S,
    TAKEN_KEPT_S,
    Code,
    MalformedRequest,
    Reply,
    is_request_id,
    open_request,
    reply_key,
    taken_key,
)
from worker.log import log
from worker.redis.client import in_words

#: The outcome of a message that was delivered, or sent, again.
TAKEN_BEFORE: Final = "taken_before"


def answer(tools: WorkerTools, sealed: object, request_id: object) -> dict[str, Any]:
    """Carry out a sealed request, unless it was taken before, and push the reply; returns the op and what became of it.

    Raises:
        RedisUnreachable: whether it was taken before is unknown, so nothing was done.
        DatabaseUnreachable: nothing was done.
    """
    if not isinstance(sealed, str) or not is_request_id(request_id):
        log.error("malformed_message", error="not a sealed request with an id")
        return {"code": Code.FAILED.value}
    request_id = str(request_id)
    if not _take(tools, request_id):
        return {"code": TAKEN_BEFORE}
    op, reply = _carried_out(tools, sealed, request_id)
    _push(tools, request_id, reply)
    return {"op": op, "code": reply.code.value}


def _take(tools: WorkerTools, request_id: str) -> bool:
    """Mark a request as taken; False: it was."""
    here = tools.stores
    key = taken_key(here.settings.redis_prefix, request_id)
    with in_words(here.settings.redis):
        return bool(here.redis.set(key, "1", nx=True, ex=TAKEN_KEPT_S))


def _carried_out(tools: WorkerTools, sealed: str, request_id: str) -> tuple[str, Reply]:
    try:
        request = open_request(sealed, request_id, tools.stores.cipher, now=wall_clock())
    except (CipherError, MalformedRequest) as error:
        log.error("intake_refused", request_id=request_id, error=str(error))
        return "", Reply(code=Code.UNAVAILABLE, detail=f"a worker can't open the request: {error}")
    return request.op.value, carry_out(tools, request)


def _push(tools: WorkerTools, request_id: str, reply: Reply) -> None:
    here = tools.stores
    key = reply_key(here.settings.redis_prefix, request_id)
    try:
        with in_words(here.settings.redis), here.redis.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, reply.model_dump_json())
            pipeline.expire(key, REPLY_KEPT_S)
            pipeline.execute()
    except (RedisError, RedisUnreachable) as error:
        # It is done, and the asker learns it by asking again: every op may be asked for twice.
        log.error("intake_not_answered", request_id=request_id, error=str(error))
