"""One run of one account's callback, wherever it runs: inputs resolved, limits set, answer read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace
from redis.asyncio import Redis

from models.answer import Answer, Fault
from models.callback import CallbackInput
from models.callback_file import EndpointCallback
from models.outcome import OWN_LINE
from models.providers.template import TemplateError
from models.refresh_request import RefreshRequest
from worker.callbacks.catalog import (
    PYTHON,
    CallbackCatalog,
    Configured,
    configured_callbacks,
    queue_of,
    unknown_words,
)
from worker.callbacks.host.celery_task import TaskClient
from worker.callbacks.host.environment import environment_of_callbacks
from worker.callbacks.host.fork_server_client import SandboxBroken
from worker.callbacks.host.http_endpoint import EndpointClient
from worker.callbacks.host.inputs import inputs_of, masked
from worker.callbacks.host.output import KEPT
from worker.callbacks.host.result import read_failure, read_value, redaction_of, shown, unpacked
from worker.callbacks.host.run_result import Reply, limits, reply_of
from worker.callbacks.host.sandbox import Sandbox
from worker.callbacks.sandbox.protocol import Known
from worker.providers.egress import Egress
from worker.providers.request.builder import RequestBuilder
from worker.providers.request.draft import InvalidRequest
from worker.providers.response.reading import as_words
from worker.settings import Settings

#: With less time than this left, nothing is begun: a call cut short may spend a refresh token for nothing.
LEAST_S: Final = 1.0
#: What is kept of the time for reading the answer.
_READING_S: Final = 0.25
DETAIL_MAX: Final = 500
#: What was printed, and refreshd's own lines beside it.
OUTPUT_MAX: Final = KEPT + 4_096


class CallbackRunner:
    """Runs callbacks: a `Caller` of refreshes, like the one that asks providers.

    Args:
        sandbox: where Python functions run.
        endpoints, tasks: how the others are reached.
        configured: endpoints and tasks, by name.
        memory_mb: address space of a Python callback that names none, mebibytes.
        now: epoch seconds.
        urls: knows where the secret of a shared client may go.
    """

    def __init__(
        self,
        *,
        sandbox: Sandbox,
        endpoints: EndpointClient,
        tasks: TaskClient,
        configured: Mapping[str, Configured],
        memory_mb: int,
        now: Callable[[], float],
        urls: RequestBuilder,
    ) -> None:
        self._urls = urls
        self._sandbox = sandbox
        self._endpoints = endpoints
        self._tasks = tasks
        self._configured = configured
        self._memory_mb = memory_mb
        self._now = now

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer:
        """Run the account's callback, once, until the deadline (the event loop's time) at the latest.

        Returns what it gave, or what kept it from giving anything. Only cancellation is raised.
        """
        name = request.callback
        if name is None:
            return Answer(fault=Fault.NO_CALLBACK, fault_detail="the account names no callback")
        try:
            inputs = inputs_of(request, now=self._now())
        except TemplateError as error:
            return Answer(fault=Fault.UNBUILDABLE, fault_detail=f"token_url: {error}")
        url = inputs.access_token_refresh_url
        if url and request.shared_client is not None:
            try:
                self._urls.check_token_url(url, request.provider, request.shared_client)
            except InvalidRequest as error:
                return Answer(fault=error.fault, fault_detail=str(error))
        begin = on_send or (lambda: None)
        configured = self._configured.get(name)
        if configured is None:
            kind, reply = PYTHON, await self._run(name, inputs, deadline, begin)
        else:
            kind, reply = configured.kind, await self._ask(name, configured, inputs, deadline, begin)
        return _described(reply, request, f"callback {name} ({kind}): {masked(inputs)}")

    async def offer(self) -> CallbackCatalog:
        """Return what this process can run; begins to import what it was not asked for yet.

        Raises:
            SandboxBroken: the Python modules can't be described.
        """
        return CallbackCatalog.of(self._configured, await self._sandbox.describe())

    async def aclose(self) -> None:
        """End the fork servers and close every connection."""
        await self._sandbox.aclose()
        await self._endpoints.aclose()
        await self._tasks.aclose()

    async def _ask(
        self,
        name: str,
        configured: Configured,
        inputs: CallbackInput,
        deadline: float,
        begin: Callable[[], None],
    ) -> Reply:
        one, secret = configured.definition, configured.secret
        if one.timeout_s is not None:
            deadline = min(deadline, asyncio.get_running_loop().time() + one.timeout_s)
        if isinstance(one, EndpointCallback):
            return await self._endpoints.call(one.url, secret, inputs, deadline=deadline, on_send=begin)
        queue = queue_of(name, one.queue)
        return await self._tasks.call(
            one.task, queue, secret, inputs, deadline=deadline, on_send=begin, broker=configured.broker
        )

    async def _run(
        self, name: str, inputs: CallbackInput, deadline: float, begin: Callable[[], None]
    ) -> Reply:
        began = False

        def note_begin() -> None:
            nonlocal began
            began = True
            begin()

        try:
            async with self._sandbox.fork_server(deadline=deadline) as server:
                known = server.described.callbacks.get(name)
                if known is None:
                    return self._unknown(name, server.described.callbacks, server.described.problems)
                left_s = deadline - asyncio.get_running_loop().time() - _READING_S
                if left_s < LEAST_S:
                    return Reply(
                        failure=Answer(fault=Fault.NOT_SENT, fault_detail="the time was over before it began")
                    )
                command = limits(known, left_s=left_s, memory_mb=self._memory_mb)
                ran = await server.run(command, inputs.model_dump_json().encode(), on_start=note_begin)
        except TimeoutError:
            return Reply(
                failure=Answer(fault=Fault.NOT_SENT, fault_detail="the callbacks were not ready in time")
            )
        except SandboxBroken as error:
            return Reply(failure=Answer(fault=Fault.CALLBACK, fault_detail=str(error), spent=began))
        return reply_of(ran, command)

    def _unknown(self, name: str, known: Mapping[str, Known], problems: Mapping[str, str]) -> Reply:
        words = unknown_words(name, {**known, **self._configured})
        told = "; ".join(f"{where} could not be used: {why}" for where, why in problems.items())
        detail = f"{words} ({told})" if told else words
        return Reply(failure=Answer(fault=Fault.NO_CALLBACK, fault_detail=detail))


def _described(reply: Reply, request: RefreshRequest, run: str) -> Answer:
    """Read what came back, and tell it as the account's history will keep it: without any secret."""
    value, notes = unpacked(reply.value)
    redaction = redaction_of(request, value)
    read = (
        read_value(value, request) if reply.failure is None else read_failure(reply.failure, value, request)
    )
    answer = read.answer
    told = answer.fault_detail or f"returned {shown(answer, request.refresh_token)}"
    lines = [f"{OWN_LINE}{line}" for line in (told, *reply.notes, *notes, *read.notes)]
    printed = reply.output.text(redaction).rstrip() if reply.output is not None else ""
    printed = "\n".join(f" {one}" if one.startswith(OWN_LINE) else one for one in printed.splitlines())
    said = "\n".join([*([printed] if printed else []), *map(redaction.text, lines)])
    return replace(
        answer,
        fault_detail=None
        if answer.fault_detail is None
        else as_words(redaction.text(answer.fault_detail), DETAIL_MAX),
        request=run,
        output=as_words(said, OUTPUT_MAX),
        asked_at=reply.asked_at,
    )


def make_callback_runner(
    settings: Settings, redis: Redis, *, runs: int, now: Callable[[], float]
) -> CallbackRunner:
    """Put together what runs callbacks in this process. Nothing is imported or started before the first run.

    Args:
        settings: modules, the callbacks file, limits.
        redis: where the envelopes of tasks lie.
        runs: Python callbacks that run at once.
        now: epoch seconds.

    Raises:
        SettingsError: REFRESHD_CALLBACKS_FILE, or a secret that it names, can't be read.
    """
    configured = configured_callbacks(settings)
    environment = environment_of_callbacks(
        settings, [text for one in configured.values() for text in one.secrets]
    )
    return CallbackRunner(
        sandbox=Sandbox(settings.callback_modules, environment, runs=runs),
        endpoints=EndpointClient(
            ca_file=settings.ca_file,
            allow_http_hosts=settings.allow_http_hosts,
            now=now,
            egress=Egress.of(settings),
        ),
        tasks=TaskClient(redis, settings.broker, settings.redis_prefix, now=now),
        configured=configured,
        memory_mb=settings.callback_memory_mb,
        now=now,
        urls=RequestBuilder(settings.allow_http_hosts),
    )
