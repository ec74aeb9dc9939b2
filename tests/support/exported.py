"""Every metric that is really exported: what the page, the rules and the dashboard may speak of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from prometheus_client.metrics_core import Metric

from models.rate_limit import WaitReason
from models.tables.attempt import AttemptEntry, Outcome, Trigger
from worker.db.fleet.counts import ExportedCounts, Overdue, PausedDue, Webhooks
from worker.monitoring.fleet_gauges import DEPRECATED, StoreState, of_counts, of_redis, of_stores, of_workers
from worker.monitoring.metrics import WorkerMetrics
from worker.monitoring.metrics_server import BuildInfo
from worker.policy.gates import Gate
from worker.redis.counts import LiveWorkers, RedisCounts


@dataclass(frozen=True, slots=True)
class Exported:
    """One metric: its name as it is queried (a counter's with `_total`), its kind, its labels."""

    name: str
    kind: str
    labels: frozenset[str]
    #: The name that replaces it; empty: it stays.
    deprecated: str = ""


def of_worker() -> dict[str, Exported]:
    """Return what workers count."""
    metrics = WorkerMetrics()
    metrics.results({(Outcome.BUSY, "lease_held"): 1}, Trigger.REPORTED)
    metrics.planned("planned", 1)
    metrics.message_refused("forged")
    metrics.compared("taken_over", 1)
    metrics.report_stream_mended("trimmed")
    ended = AttemptEntry(
        id="a",
        account_id="acct",
        trigger=Trigger.PLANNED,
        opened_at=0,
        generation=1,
        config_version=1,
        outcome=Outcome.REFRESHED,
        latency_ms=1,
        lag_s=1,
    )
    metrics.attempt_ended("acme", ended, stored=True)
    return dict(_read(metrics.registry.collect()))


def small_counts() -> ExportedCounts:
    """Return counts that have one of everything."""
    return ExportedCounts(
        now=100.0,
        by_status={("acme", "active"): 1},
        failing={("acme", "degraded", "server_error"): 1},
        late={"acme": Overdue(1, 1.0)},
        set_aside={"acme": PausedDue(1, 1)},
        expired={("acme",): 1},
        expiring={("60",): 1},
        refresh_tokens_expiring={("60",): 1},
        unpublished=0,
        job_ended_at={"plan": 99.0},
        callbacks={("mine",): 1},
        pauses={("all",): 1},
        webhooks=Webhooks(1, 1.0, 1),
    )


def of_exporter() -> dict[str, Exported]:
    """Return what the exporter serves, without the names of the release before."""
    return {one.name: one for one in _of_exporter().values() if not one.deprecated}


def renamed() -> dict[str, str]:
    """Return the names of the release before that the exporter still serves: old -> new."""
    return {one.name: one.deprecated for one in _of_exporter().values() if one.deprecated}


def _of_exporter() -> dict[str, Exported]:
    counts = small_counts()
    found = RedisCounts(
        {"refresh": 1},
        {"https://acme.example": Gate(cause=WaitReason.DOWN, provider="acme")},
        {"beat@one": 3.0},
    )
    live = LiveWorkers({"worker": ["refresh"]}, 1)
    stores = of_stores({"redis": StoreState(up=True, took_s=0.1, age_s=1.0)})
    families = chain(stores, of_counts(counts), of_redis(found, counts), of_workers(live, ["refresh"]))
    return dict(_read(chain(BuildInfo().collect(), families)))


def series() -> set[str]:
    """Return every name that a query can use."""
    names: set[str] = set()
    for one in (of_worker() | of_exporter()).values():
        ends = ("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",)
        names |= {one.name + end for end in ends}
    return names


def _read(families: Iterable[Metric]) -> Iterator[tuple[str, Exported]]:
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        _, _, newer = family.documentation.partition(DEPRECATED)
        yield name, Exported(name, family.type, frozenset(labels), newer.rstrip("."))
