"""Step 5 of a refresh: the call. It always ends in an answer that can be judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from models.answer import Answer, Fault
from models.refresh_request import RefreshRequest
from worker.clock import Clock
from worker.log import log
from worker.monitoring.traces import step
from worker.refresh.attempt import OpenAttempt


class Caller(Protocol):
    """Makes one call: the provider over HTTP, or a callback."""

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer: ...


def _told(answer: Answer) -> dict[str, str | int | None]:
    return {
        "http.response.status_code": answer.status,
        "error.type": answer.fault.value if answer.fault else None,
    }


@step("call", "CLIENT", _told)
async def call_provider(caller: Caller, request: RefreshRequest, one: OpenAttempt, clock: Clock) -> Answer:
    """Make the call of an open attempt, once, and note when it was sent.

    Callers raise nothing. One that does so all the same has a bug, which is a failure of this account: it is tried
    again, later each time, and its history says so. Where it was sent, its refresh token may be spent.
    """

    def on_send() -> None:
        one.sent_at = clock.now()

    try:
        answer = await caller.call(request, deadline=one.deadline, on_send=on_send)
    except Exception as error:  # noqa: BLE001  (no bug of a caller's may hold the account)
        log.error("call_raised", account=one.account.id, attempt=one.attempt.id, exc_info=error)
        return Answer(fault=Fault.INTERNAL, fault_detail=type(error).__name__, spent=one.sent_at is not None)
    if answer.asked_at is not None:
        one.sent_at = answer.asked_at
    return answer
