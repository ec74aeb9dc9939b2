"""Every metric that is really exported: what the page, the rules and the dashboard may speak of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from prometheus_client.metrics_core import Metric

from models.attempt import AttemptEntry, Outcome, Trigger
from models.rate_limit import WaitReason
from worker.db.fleet.counts import FleetCounts, Overdue, Webhooks
from worker.monitoring.exporter import of_census, of_staff, of_stores, of_traffic
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


def of_worker() -> dict[str, Exported]:
    """Return what workers count."""
    metrics = WorkerMetrics()
    metrics.results({(Outcome.BUSY, "lease_held"): 1}, Trigger.REPORTED)
    metrics.planned("planned", 1)
    metrics.message_refused("forged")
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


def small_census() -> FleetCounts:
    """Return a census that has one of everything."""
    return FleetCounts(
        accounts={("acme", "active"): 1},
        failing={("acme", "degraded", "server_error"): 1},
        overdue={"acme": Overdue(1, 1.0)},
        expired={"acme": Overdue(1, 1.0)},
        ending={60: 1},
        hard_ending={60: 1},
        unpublished=0,
        duty_age_s={"plan": 1.0},
        callbacks={"mine": 1},
        pauses={"all": 1},
        webhooks=Webhooks(1, 1.0, 1),
    )


def of_exporter() -> dict[str, Exported]:
    """Return what the exporter tells."""
    census = small_census()
    traffic = RedisCounts(
        {"refresh": 1}, {"https://acme.example": Gate(cause=WaitReason.DOWN, provider="acme")}
    )
    staff = LiveWorkers({"worker": ["refresh"]}, 1)
    stores = of_stores({"redis": True}, {"redis": 0.1})
    families = chain(stores, of_census(census), of_traffic(traffic, census), of_staff(staff, ["refresh"]))
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
        yield name, Exported(name, family.type, frozenset(labels))
