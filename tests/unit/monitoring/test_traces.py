"""Traces: off, a step is the call itself; on, a span holds no text of an exception; without the extra, an error names it."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from worker.errors import SettingsError
from worker.monitoring import traces


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces, "_tracing", traces.Tracing(provider, in_events=False))
    yield exporter
    provider.shutdown()


@traces.step("call", "CLIENT", lambda result: {"http.response.status_code": result, "error.type": None})
async def call(status: int) -> int:
    if status == 0:
        raise RuntimeError("refresh_token=planted")
    return status


async def test_a_step_is_the_call_itself_while_traces_are_off() -> None:
    assert await call(200) == 200
    assert traces.store_times() is None


async def test_a_span_holds_what_is_told_and_no_text_of_an_exception(spans: InMemorySpanExporter) -> None:
    assert await call(200) == 200
    with pytest.raises(RuntimeError):
        await call(0)

    told, broken = spans.get_finished_spans()
    assert dict(told.attributes or {}) == {"http.response.status_code": 200}
    assert not broken.events
    assert "planted" not in broken.to_json()


def test_events_carry_no_trace_unless_asked(spans: InMemorySpanExporter) -> None:
    times = traces.store_times()
    assert times is not None
    assert times.header() is None
    times.published()
    assert [one.name for one in spans.get_finished_spans()] == ["commit"]


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(SettingsError, match=r"not installed; expected the extra `otel`"):
        traces.start_traces(version="1")
