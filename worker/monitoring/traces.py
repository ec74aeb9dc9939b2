"""Traces (OpenTelemetry): one a message, from the plan to the publication of each account. Off without REFRESHD_TRACES.

Nothing here imports OpenTelemetry while they are off, and a step costs one comparison then. A span holds ids, counts, outcomes
and reasons; no exception is recorded in one, for its text may hold anything. The variables OTEL_* say where traces go.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from celery.signals import before_task_publish, task_postrun, task_prerun

from worker.clock import wall_clock
from worker.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind

P = ParamSpec("P")
T = TypeVar("T")

PLAN: Final = "refreshd.plan"
REFRESH: Final = "refreshd.refresh"
#: W3C Trace Context: the header of a message, and the field of a connector's report.
TRACEPARENT: Final = "traceparent"
#: The root of a trace, by the reason of its message; any other is a person's or a program's request.
_ROOTS: Final = {"planned": "plan", "reported": "report"}
#: A span is an error where its account needs a person or another try.
_ERRORS: Final = frozenset({"retry", "rate_limited", "reauthorize", "misconfigured"})
_NS: Final = 1_000_000_000

_tracing: Tracing | None = None
_thread = threading.local()


def start_traces(*, version: str, in_events: bool = False) -> None:
    """Trace this process from now on; a second call changes nothing.

    Args:
        version: refreshd's.
        in_events: entries of the event stream carry their trace's `traceparent`.

    Raises:
        SettingsError: the packages of the extra `otel` are not installed.
    """
    global _tracing  # noqa: PLW0603  (one a process, as OpenTelemetry's own)
    if _tracing is not None:
        return
    try:
        _tracing = Tracing(_provider(version), in_events=in_events)
    except ImportError as error:
        raise SettingsError(
            f"REFRESHD_TRACES is on, and {error.name} is not installed; expected the extra `otel`: "
            "`.venv/bin/pip install '.[otel]'`"
        ) from None
    before_task_publish.connect(_sent)
    task_prerun.connect(_begun)
    task_postrun.connect(_ended)


def stop_traces() -> None:
    """Send what is left, and trace no more."""
    global _tracing
    if _tracing is not None:
        before_task_publish.disconnect(_sent)
        task_prerun.disconnect(_begun)
        task_postrun.disconnect(_ended)
        stopped, _tracing = _tracing, None
        stopped.provider.shutdown()


def _provider(version: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "refreshd"}
    provider = TracerProvider(resource=Resource.create({**named, "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """OpenTelemetry's parts that spans are made with."""

    def __init__(self, provider: TracerProvider, *, in_events: bool) -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.provider = provider
        self.in_events = in_events
        self.trace = trace
        self.context = context
        self.tracer = provider.get_tracer("refreshd")
        self.propagator = TraceContextTextMapPropagator()

    def span(self, name: str, **options: Any) -> Any:
        """Return a context manager of a span in the current one, which records no exception's text."""
        return self.tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False, **options
        )

    def header(self, span: Span) -> str:
        """Return the `traceparent` of a span."""
        carrier: dict[str, str] = {}
        self.propagator.inject(carrier, self.trace.set_span_in_context(span))
        return carrier.get(TRACEPARENT, "")

    def from_header(self, header: object) -> Context:
        """Return the context of a `traceparent`; an empty one where it is none."""
        from opentelemetry.context import Context

        carrier = {TRACEPARENT: header} if isinstance(header, str) else {}
        return self.propagator.extract(carrier, Context())

    def is_current(self) -> bool:
        return bool(self.trace.get_current_span().get_span_context().is_valid)

    def kind(self, name: str) -> SpanKind:
        return self.trace.SpanKind[name]


def _sent(headers: dict[str, Any] | None = None, body: Any = None, **_: Any) -> None:
    """Begin the trace of a refresh message, or go on with the one under way, and write it into the message's headers."""
    if _tracing is None or headers is None or headers.get("task") != REFRESH:
        return
    arguments: Mapping[str, Any] = body[1] if isinstance(body, tuple | list) and len(body) > 1 else {}
    name = "send" if _tracing.is_current() else _ROOTS.get(str(arguments.get("reason")), "request")
    began = getattr(_thread, "plan_began", None) if name == "plan" else None
    span = _tracing.tracer.start_span(
        name,
        context=_tracing.from_header(getattr(_thread, "reported", None)) if name == "report" else None,
        kind=_tracing.kind("PRODUCER"),
        start_time=began,
        attributes={
            "messaging.message.id": str(headers.get("id")),
            "refreshd.accounts": len(arguments.get("accounts") or ()),
        },
    )
    headers[TRACEPARENT] = _tracing.header(span)
    span.end()


def _begun(task: Any, task_id: str, **_: Any) -> None:
    if _tracing is None:
        return
    if task.name == PLAN:
        _thread.plan_began = int(wall_clock() * _NS)
    elif task.name == REFRESH:
        span = _tracing.tracer.start_span(
            REFRESH,
            context=_tracing.from_header(task.request.get(TRACEPARENT)),
            kind=_tracing.kind("CONSUMER"),
            attributes={"messaging.message.id": task_id, "refreshd.worker": str(task.request.hostname)},
        )
        _thread.message = (span, _tracing.context.attach(_tracing.trace.set_span_in_context(span)))


def _ended(task: Any, **_: Any) -> None:
    if _tracing is not None and task.name == REFRESH and (found := _thread.__dict__.pop("message", None)):
        span, token = found
        _tracing.context.detach(token)
        span.end()


def reported_by(header: str | None) -> None:
    """Note the `traceparent` that a connector's report carries: the report that this thread sends next continues it."""
    _thread.reported = header


def step(
    name: str, kind: str = "INTERNAL", told: Callable[[Any], Mapping[str, Any]] | None = None
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Return a decorator that makes a span of each call.

    Args:
        name: the span's.
        kind: of OpenTelemetry's kinds.
        told: returns attributes from what the call returned.
    """

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def traced(*args: P.args, **kwargs: P.kwargs) -> T:
            if _tracing is None:
                return await function(*args, **kwargs)
            with _tracing.span(name, kind=_tracing.kind(kind)) as span:
                result = await function(*args, **kwargs)
                if told is not None:
                    span.set_attributes(
                        {key: value for key, value in told(result).items() if value is not None}
                    )
                return result

        return traced

    return decorate


def account_step(
    function: Callable[[Any, Any], Coroutine[Any, Any, T]],
) -> Callable[[Any, Any], Coroutine[Any, Any, T]]:
    """Make a span of what an open attempt goes through alone: `function(self, open_attempt)` returns its result."""

    @wraps(function)
    async def traced(self: Any, one: Any) -> T:
        if _tracing is None:
            return await function(self, one)
        attributes = {
            "refreshd.account": one.account.id,
            "refreshd.provider": one.account.provider,
            "refreshd.attempt": one.attempt.id,
            "refreshd.trigger": str(one.attempt.trigger),
        }
        with _tracing.span("refresh", attributes=attributes) as span:
            result: Any = await function(self, one)
            span.set_attributes(
                {
                    "refreshd.outcome": result.outcome.value,
                    "refreshd.reason": result.reason,
                    "refreshd.generation": result.generation,
                }
            )
            if result.outcome.value in _ERRORS:
                span.set_status(_tracing.trace.StatusCode.ERROR, result.reason)
            return result  # type: ignore[no-any-return]

    return traced


class StoreTimes:
    """When an answer was handed over, committed and published: answers of many traces share one commit."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._context = tracing.context.get_current()
        self._began = int(wall_clock() * _NS)
        self._committed: int | None = None

    def header(self) -> str | None:
        """Return the `traceparent` for entries of the event stream; None where they carry none."""
        if not self._tracing.in_events:
            return None
        return self._tracing.header(self._tracing.trace.get_current_span(self._context))

    def committed(self) -> None:
        self._committed = int(wall_clock() * _NS)

    def published(self) -> None:
        """Make the spans: the commit, and where there was one, the publication."""
        now = int(wall_clock() * _NS)
        self._span("commit", self._began, self._committed or now)
        if self._committed is not None:
            self._span("publish", self._committed, now)

    def _span(self, name: str, began: int, ended: int) -> None:
        span = self._tracing.tracer.start_span(name, context=self._context, start_time=began)
        span.end(ended)


def store_times() -> StoreTimes | None:
    """Return what notes the times of one answer; None while nothing is traced."""
    return None if _tracing is None else StoreTimes(_tracing)
