"""What workers reply, as answers of the API."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from worker.accounts.entry import RowRefused
from worker.api.auth import Caller
from worker.api.context import ApiContext
from worker.api.problems import FieldError, Kind, Problem, invalid
from worker.intake.requests import RETRY_AFTER_S, Code, Op, Reply, RequestTooLong
from worker.log import log

#: Beyond the API's own patience for a worker: what a call to a provider takes.
CALL_S: Final = 35.0


async def ask(
    here: ApiContext, caller: Caller, op: Op, payload: Mapping[str, Any], *, calls_provider: bool = False
) -> dict[str, Any]:
    """Have a worker do something; return its result.

    Raises:
        Problem: it was not done.
        NoWorkerAnswered: whether it was done is unknown.
    """
    return result_of(await reply_of(here, caller, op, payload, calls_provider=calls_provider))


async def reply_of(
    here: ApiContext, caller: Caller, op: Op, payload: Mapping[str, Any], *, calls_provider: bool = False
) -> Reply:
    """Have a worker do something; return its reply.

    Raises:
        Problem: no message can carry it.
        NoWorkerAnswered: whether it was done is unknown.
    """
    workers = await here.intake()
    try:
        return await workers.ask(
            op,
            actor=caller.name,
            require_labels=caller.labels,
            payload=payload,
            timeout_s=here.api.worker_wait_s + (CALL_S if calls_provider else 0),
        )
    except RequestTooLong as error:
        raise Problem(Kind.TOO_LARGE, str(error)) from None


def result_of(reply: Reply) -> dict[str, Any]:
    """Return the result of what was done.

    Raises:
        Problem: it was not done.
    """
    match reply.code:
        case Code.DONE:
            return reply.result
        case Code.REFUSED:
            raise refused(reply)
        case Code.NOT_FOUND:
            raise Problem(Kind.NOT_FOUND, "nothing has this name, or it can't be used with this key")
        case Code.CONFLICT:
            # What a reply has more to say of does not pass by itself.
            raise Problem(
                Kind.CONFLICT,
                reply.detail or "it changed meanwhile; try again",
                headers={} if reply.result else {"Retry-After": "1"},
                more=reply.result,
            )
        case Code.UNAVAILABLE if RETRY_AFTER_S in reply.result:
            more = {name: value for name, value in reply.result.items() if name != RETRY_AFTER_S}
            after = {"Retry-After": str(ceil(reply.result[RETRY_AFTER_S]))}
            raise Problem(Kind.PROVIDER_UNAVAILABLE, reply.detail, headers=after, more=more)
        case Code.UNAVAILABLE:
            log.error("api_worker_unable", detail=reply.detail)
            raise Problem(
                Kind.UNAVAILABLE,
                "a worker could not do it; its log and the API's say why",
                headers={"Retry-After": "5"},
            )
    raise Problem(Kind.DEFECT, reply.detail or "a worker met a defect of its own; its log has it")


def refused(reply: Reply) -> Problem:
    """Return the problem of what can't be stored; `verdict` and the like come along."""
    errors = [FieldError(one.field, one.reason, one.code) for one in reply.problems]
    if "verdict" in reply.result:
        return Problem(
            Kind.REFUSED_BY_PROVIDER,
            reply.detail or "; ".join(one.reason for one in errors) or "the provider refused the grant",
            errors=errors,
            more=reply.result,
        )
    if not errors:
        errors = [FieldError("body", reply.detail or "can't be accepted")]
    return invalid(*errors)


def row_refused(error: RowRefused) -> Problem:
    """Return the problem of a row that can't be stored."""
    return invalid(*(FieldError(one.field, one.reason, one.code) for one in error.problems))
