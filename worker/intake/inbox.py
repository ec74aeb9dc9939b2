"""Requests as they arrive in a worker: each is taken once, opened, carried out and answered.

Where that may wait for a provider, a thread of its own does it: a task that waited would hold one of Celery's.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from redis.exceptions import RedisError

from worker.errors import CipherError, RedisUnreachable
from worker.intake.carry_out import WorkerTools, asks_provider, carry_out
from worker.intake.requests import (
    REPLY_KEPT_S,
    TAKEN_KEPT_S,
    Code,
    IntakeRequest,
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
#: The outcome of a request that waits for a provider: `intake_answered` in the log tells the rest.
UNDER_WAY: Final = "under_way"


def answer(tools: WorkerTools, sealed: object, request_id: object) -> dict[str, Any]:
    """Carry out a sealed request, unless it was taken before, and push the reply; returns the op and what became of it.

    One that may wait for a provider is begun, and its outcome is `UNDER_WAY`.

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
    try:
        request = open_request(sealed, request_id, tools.stores.cipher, now=tools.stores.clock.now())
    except (CipherError, MalformedRequest) as error:
        log.error("intake_refused", request_id=request_id, error=str(error))
        detail = f"a worker can't open the request: {error}"
        return _replied(tools, request_id, "", Reply(code=Code.UNAVAILABLE, detail=detail))
    if not asks_provider(request.op):
        return _replied(tools, request_id, request.op.value, carry_out(tools, request))
    tools.threads.begin(partial(_ask_and_reply, tools, request, request_id))
    return {"op": request.op.value, "code": UNDER_WAY}


def _take(tools: WorkerTools, request_id: str) -> bool:
    """Mark a request as taken; False: it was."""
    here = tools.stores
    key = taken_key(here.settings.redis_prefix, request_id)
    with in_words(here.settings.redis):
        return bool(here.redis.set(key, "1", nx=True, ex=TAKEN_KEPT_S))


def _ask_and_reply(tools: WorkerTools, request: IntakeRequest, request_id: str) -> None:
    log.info("intake_answered", **_replied(tools, request_id, request.op.value, carry_out(tools, request)))


def _replied(tools: WorkerTools, request_id: str, op: str, reply: Reply) -> dict[str, Any]:
    _push(tools, request_id, reply)
    return {"op": op, "code": reply.code.value}


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
