"""A request carried out in a worker: its op's handler is found, and whatever it raises becomes a reply."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from worker.accounts.clients.editor import ClientInUse
from worker.accounts.editor import Busy
from worker.accounts.entry import Problem, RowRefused
from worker.accounts.grants.replacement import Moved
from worker.accounts.grants.trial import TokenInUse
from worker.accounts.publisher import RunsOnLoop
from worker.context import AppContext
from worker.errors import CipherError, InputError, RefreshdError, UnknownAccount, Unreachable
from worker.intake.provider_slots import AGAIN_AFTER_S, ProviderBusy
from worker.intake.provider_threads import ProviderThreads
from worker.intake.requests import RETRY_AFTER_S, Code, FieldProblem, IntakeRequest, Op, Reply
from worker.intake.services import AccountServices, account_services, publisher_of
from worker.log import log
from worker.providers.client import ProviderClient

P = TypeVar("P", bound=BaseModel)


class WorkerTools(Struct, frozen=True):
    """What a worker carries requests out with."""

    stores: AppContext
    run: RunsOnLoop
    #: Calls token endpoints; it belongs to the loop of `run`, as does the next one.
    client: ProviderClient
    #: Where tokens are published.
    redis: Redis
    #: Where requests are carried out that wait for a provider.
    threads: ProviderThreads


class Desk(Struct, frozen=True):
    """What a handler works with, for one request."""

    services: AccountServices
    tools: WorkerTools


class NotFound(RefreshdError):
    """There is none of this name, or the asker may not see it."""


Handler = Callable[[Desk, IntakeRequest], Reply]

_handlers: Final[dict[Op, Handler]] = {}
_asking: Final[set[Op]] = set()


def handles(op: Op, *, asks_provider: bool = False) -> Callable[[Handler], Handler]:
    """Return a decorator that makes a function the handler of an op. `tasks/intake.py` imports every module that has one.

    Args:
        op: the op.
        asks_provider: the handler may wait for the answer of a provider, or of another server that is not ours.
    """

    def register(handler: Handler) -> Handler:
        _handlers[op] = handler
        if asks_provider:
            _asking.add(op)
        return handler

    return register


def asks_provider(op: Op) -> bool:
    """Return whether an op's handler may wait for a server that is not ours."""
    return op in _asking


def payload_of(request: IntakeRequest, model: type[P]) -> P:
    """Read a request's payload.

    Raises:
        RowRefused: it is not what the op takes. No value of it is shown: any of them may be a secret.
    """
    try:
        return model.model_validate(request.payload)
    except ValidationError as error:
        raise RowRefused(
            [
                Problem(".".join(map(str, one["loc"])) or "row", one["msg"])
                for one in error.errors(include_input=False, include_context=False, include_url=False)
            ]
        ) from None


def carry_out(tools: WorkerTools, request: IntakeRequest) -> Reply:
    """Carry out a request, and return what became of it. It raises nothing: the asker waits for a reply."""
    handler = _handlers.get(request.op)
    if handler is None:
        return Reply(
            code=Code.FAILED,
            detail=f"this worker does not know {request.op.value}: is it of an older version?",
        )
    try:
        with publisher_of(tools.stores, (tools.run, tools.redis)) as publisher:
            services = account_services(
                tools.stores, publisher, request.by, require_labels=request.require_labels
            )
            return handler(Desk(services, tools), request)
    except RowRefused as refused:
        return Reply(code=Code.REFUSED, problems=problems(refused))
    except InputError as error:
        return Reply(code=Code.REFUSED, problems=(FieldProblem(field=error.field, reason=error.reason),))
    except (UnknownAccount, NotFound) as error:
        return Reply(code=Code.NOT_FOUND, detail=str(error))
    except ClientInUse as error:
        return Reply(code=Code.CONFLICT, detail=_IN_USE, result={"accounts": error.accounts})
    except (Busy, Moved, TokenInUse) as error:
        return Reply(code=Code.CONFLICT, detail=str(error))
    except (Unreachable, CipherError, ProviderBusy) as error:
        log.error("intake_not_done", op=request.op.value, error=str(error))
        result = {RETRY_AFTER_S: AGAIN_AFTER_S} if isinstance(error, ProviderBusy) else {}
        return Reply(code=Code.UNAVAILABLE, detail=str(error), result=result)
    except RefreshdError as error:
        return Reply(code=Code.REFUSED, problems=(FieldProblem(field="row", reason=str(error)),))
    except Exception as error:  # noqa: BLE001  (whatever it is, the asker must not wait for its time-out)
        # Neither its text nor its traceback: both may hold what was sent.
        log.error("intake_failed", op=request.op.value, error=type(error).__name__, at=_place(error))
        return Reply(
            code=Code.FAILED, detail="the worker met a defect of its own; its log has it (intake_failed)"
        )


#: What the API tells; the command's own words name its option.
_IN_USE: Final = (
    "accounts name this client, and could not be refreshed without it; give them another one first"
)


def _place(error: BaseException) -> str:
    """Return where an error was raised: file and line of our innermost frame."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "site-packages" not in one.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def problems(refused: RowRefused) -> tuple[FieldProblem, ...]:
    """Return the problems of a row as a reply has them."""
    return tuple(FieldProblem(field=one.field, reason=one.reason, code=one.code) for one in refused.problems)
