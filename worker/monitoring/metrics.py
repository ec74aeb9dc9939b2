"""Counters of a worker process for Prometheus. docs/monitoring.md has what each name means.

Labels are bounded: outcomes and reasons are refreshd's (or of `error_rules`), a provider is one of the first
`PROVIDERS_MAX` that the process met. An account is never a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from models.tables.attempt import AttemptEntry, Outcome, Trigger

# prometheus_client exports when each series began as a series of its own: twice the series, for no query of ours.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: A provider's name is whatever an account says. Beyond so many, the others share one label.
PROVIDERS_MAX: Final = 100
OTHER: Final = "other"

#: A token endpoint answers within a second; a call ends after REFRESHD_CALL_TIMEOUT_S (30).
CALL_BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
#: A plan is made every second; a message may live for 60 s; beyond that something is down.
LAG_BUCKETS_S: Final = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)

#: Outcomes of refreshes that were not begun, or ended before a request was sent.
_REFUSED: Final = frozenset(
    {Outcome.BUSY, Outcome.NOT_DUE, Outcome.SUPERSEDED, Outcome.NOT_SENT, Outcome.DISABLED}
)


class Capped:
    """Returns names unchanged, up to a number of different ones; `other` beyond."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name


class WorkerMetrics:
    """The counters of one process. Counting one refresh takes a few microseconds."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._provider = Capped(PROVIDERS_MAX)
        # name, help, labels (and buckets)
        self._refreshes = self._counter(
            "refreshes_total", "Attempts that ended, and how.", "provider", "outcome", "reason"
        )
        self._refusals = self._counter(
            "refusals_total", "Refreshes that were asked for and not sent, and why.", "outcome", "reason"
        )
        self._interrupted = self._counter(
            "interrupted_attempts_total",
            "Attempts found open after their end: whether the provider saw the request is unknown.",
        )
        self._lost = self._counter(
            "redis_lost_accounts_total",
            "Accounts whose token or state Redis had lost, found by comparison and published again.",
            "why",
        )
        self._reports = self._counter(
            "reports_total", "Rejected tokens that connectors reported, and the outcome.", "outcome"
        )
        self._streams_mended = self._counter(
            "report_streams_mended_total",
            "Times that the stream of reports was made anew after a connector had harmed it, and why.",
            "why",
        )
        self._messages_refused = self._counter(
            "messages_refused_total", "Task messages that were not acted on, and why.", "reason"
        )
        self._plans = self._counter(
            "plans_total", "Plans that beat asked for, and what became of each.", "result"
        )
        self._planned = self._counter("planned_accounts_total", "Accounts that plans sent to workers.")
        self._calls = self._histogram(
            "provider_call_duration_seconds",
            "Time from the request to a provider (or callback) to its answer.",
            CALL_BUCKETS_S,
        )
        self._lags = self._histogram(
            "lag_seconds",
            "Time from when a planned refresh was due to when its request was sent.",
            LAG_BUCKETS_S,
        )
        self._waiting = Gauge(
            "refreshd_answers_waiting",
            "Answers that wait for the database, in this worker's memory or sealed in Redis.",
            registry=self.registry,
        )
        # Label children by key: looking one up is a third of what `labels()` costs.
        self._refresh_children: dict[tuple[str, str, str], Counter] = {}
        self._histogram_children: dict[tuple[int, str], Histogram] = {}

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"refreshd_{name}", words, labels, registry=self.registry)

    def _histogram(self, name: str, words: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"refreshd_{name}", words, ("provider",), buckets=buckets, registry=self.registry)

    def attempt_ended(self, provider: str, attempt: AttemptEntry, *, stored: bool) -> None:
        """Count an attempt that was closed.

        Args:
            provider: the account's.
            attempt: as it was closed.
            stored: the row took it; False: another process had been first.
        """
        name = self._provider(provider)
        outcome, reason = (
            (attempt.outcome or Outcome.NOT_SENT, attempt.reason or "")
            if stored
            else (Outcome.SUPERSEDED, "generation_moved")
        )
        key = (name, outcome, reason)
        child = self._refresh_children.get(key)
        if child is None:
            child = self._refresh_children[key] = self._refreshes.labels(name, outcome.value, reason)
        child.inc()
        if attempt.latency_ms is not None and attempt.outcome is not Outcome.NOT_SENT:
            self._child(self._calls, name).observe(attempt.latency_ms / 1000)
        if attempt.lag_s is not None and attempt.trigger == Trigger.PLANNED:
            self._child(self._lags, name).observe(max(attempt.lag_s, 0.0))
        if attempt.after_interruption:
            self._interrupted.inc()

    def results(self, outcomes: Mapping[tuple[Outcome, str], int], trigger: Trigger) -> None:
        """Count the refusals among the results of a group; of reports, all results."""
        for (outcome, reason), number in outcomes.items():
            if outcome in _REFUSED:
                self._refusals.labels(outcome.value, reason).inc(number)
            if trigger is Trigger.REPORTED:
                self._reports.labels(outcome.value).inc(number)

    def reports_dropped(self, why: str, number: int) -> None:
        """Count reports that led to no refresh: repeated and unreadable ones."""
        if number:
            self._reports.labels(why).inc(number)

    def report_stream_mended(self, why: str) -> None:
        """Count a stream of reports that was made anew; `worker.redis.report_stream` has the reasons."""
        self._streams_mended.labels(why).inc()

    def message_refused(self, reason: str) -> None:
        """Count a message that was not acted on; `worker.broker.messages` has the reasons."""
        self._messages_refused.labels(reason).inc()

    def interrupted(self, number: int) -> None:
        """Count open attempts that were closed because their worker is gone."""
        self._interrupted.inc(number)

    def compared(self, why: str, missing: int) -> None:
        """Count the accounts of which Redis had lost something, by why that was looked for."""
        if missing:
            self._lost.labels(why).inc(missing)

    def planned(self, result: str, accounts: int) -> None:
        """Count a plan."""
        self._plans.labels(result).inc()
        self._planned.inc(accounts)

    def waiting(self, answers: int) -> None:
        """Note how many answers wait for the database now."""
        self._waiting.set(answers)

    def _child(self, histogram: Histogram, provider: str) -> Histogram:
        key = (id(histogram), provider)
        child = self._histogram_children.get(key)
        if child is None:
            child = self._histogram_children[key] = histogram.labels(provider)
        return child


@cache
def worker_metrics() -> WorkerMetrics:
    """Return this process' counters."""
    return WorkerMetrics()
