"""Check of closed gates: the accounts that they hold, and whether each can be called in time."""

from __future__ import annotations

from collections.abc import Iterator

from worker.context import AppContext
from worker.diagnostics.doctor.result import CheckResult, Level, ok
from worker.monitoring.gate_status import look_at_gates


def check_gates(here: AppContext) -> Iterator[CheckResult]:
    """Yield each closed gate that holds accounts."""
    now = here.clock.now()
    closed = look_at_gates(here.engine, here.redis, here.settings.redis_prefix, now=now)
    if not closed:
        yield ok("gates", "no gate holds any account")
    for one in closed:
        ended = f", {one.held.ended:,} of them without a living token" if one.held.ended else ""
        late = f"; {one.held.too_many:,} healthy ones end before their turn" if one.held.too_many else ""
        yield CheckResult(
            "gates",
            Level.FAILED if one.held.ended or one.held.too_many else Level.WARNING,
            f"{one.sentence(now)}; it holds {one.held.accounts:,} accounts{ended}{late}. {one.next_words(now)}".rstrip(),
            f"`refreshd explain {one.gate.by}` shows the provider's answer (docs/gates.md: which accounts are called meanwhile)",
        )
