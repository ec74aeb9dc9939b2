"""`refreshd.intake`: carry out a request of a process that can open nothing."""

from __future__ import annotations

from typing import Any

from tasks._request import TaskRequest, retried
from worker.app import app
from worker.connect import exchange, preparing  # noqa: F401  (their ops are known once they are imported)
from worker.errors import Unreachable
from worker.intake import account_ops, bulk_ops, grant_ops  # noqa: F401  (as well)
from worker.intake.carry_out import WorkerTools
from worker.intake.inbox import answer
from worker.intake.requests import Code
from worker.log import log
from worker.runtime import runtime


@app.task(name="refreshd.intake", Request=TaskRequest)
def intake(request: str, request_id: str) -> dict[str, Any]:
    """Carry out a sealed request, once, and push its reply; the result names the op and what became of it."""
    try:
        here = runtime()
        tools = WorkerTools(
            stores=here,
            run=here.run,
            client=here.provider_client,
            redis=here.async_redis,
            threads=here.provider_threads,
        )
        return answer(tools, request, request_id)
    except Unreachable as error:
        log.error("intake_not_done", error=str(error))
        retried(f"not done: {error}", {"code": Code.UNAVAILABLE.value})
