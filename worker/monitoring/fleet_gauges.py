"""The fleet's gauges for Prometheus as tables: name, help, labels, value. docs/monitoring.md has what each name means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from msgspec import Struct
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from models.pause_scope import Scope
from models.rate_limit import WaitReason
from models.tables.account import Status
from worker.db.fleet.counts import PLAN, ExportedCounts
from worker.monitoring.metrics import OTHER, PROVIDERS_MAX
from worker.redis.counts import LiveWorkers, RedisCounts

V = TypeVar("V")
#: Values of the labels -> number.
Values: TypeAlias = Mapping[tuple[str, ...], float]

#: Why a gate closes.
_CAUSES: Final = (WaitReason.DOWN, WaitReason.REFUSED, WaitReason.THROTTLED)
_NEVER: Final = float("inf")
#: Begins the help of a name that the next release drops.
DEPRECATED: Final = "Deprecated: "


class Gauge(NamedTuple, Generic[V]):
    """One gauge, and how its values are read from what was counted."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: Callable[[V], Values]
    #: Its name in the release before, which is exported as well.
    old_name: str = ""


class StoreState(Struct, frozen=True):
    """What polling a store found."""

    up: bool
    took_s: float
    #: Age of its numbers, seconds; None: there are none.
    age_s: float | None


class GateCounts(Struct, frozen=True):
    """Closed gates and the accounts that they hold."""

    queues: Values
    #: Origins that are down, and that ask for a pause, by provider or `callback:NAME`.
    down: Values
    paused: Values
    #: Gates and accounts by cause.
    gates: Values
    held: Values
    #: Providers whose accounts have an origin of their own or their tenant's: one that is down is not the provider.
    many_origins: Collection[str]


_STORES: Final[tuple[Gauge[Mapping[str, StoreState]], ...]] = (
    Gauge(
        "refreshd_up",
        "Whether a store answers.",
        ("store",),
        lambda stores: {(name,): one.up for name, one in stores.items()},
    ),
    Gauge(
        "refreshd_store_query_duration_seconds",
        "Time that the last query of a store took.",
        ("store",),
        lambda stores: {(name,): one.took_s for name, one in stores.items()},
        old_name="refreshd_look_duration_seconds",
    ),
    Gauge(
        "refreshd_store_snapshot_age_seconds",
        "Age of a store's numbers.",
        ("store",),
        lambda stores: {(name,): one.age_s for name, one in stores.items() if one.age_s is not None},
    ),
)

_COUNTS: Final[tuple[Gauge[ExportedCounts], ...]] = (
    Gauge(
        "refreshd_accounts", "Accounts by provider and status.", ("provider", "status"), lambda c: c.by_status
    ),
    Gauge(
        "refreshd_accounts_failing",
        "Accounts that are degraded, to be re-authorized or misconfigured, and why: the largest groups.",
        ("provider", "status", "reason"),
        lambda c: c.failing,
    ),
    Gauge(
        "refreshd_accounts_overdue",
        "Accounts due for 10 s and more, and not paused.",
        ("provider",),
        lambda c: {(name,): one.accounts for name, one in c.late.items()},
    ),
    Gauge(
        "refreshd_oldest_overdue_seconds",
        "By how much the oldest overdue account is late.",
        (),
        lambda c: {(): 0.0 if c.oldest_due_at is None else c.now - c.oldest_due_at},
    ),
    Gauge(
        "refreshd_tokens_expired_while_active",
        "Planned, active accounts whose token has ended: a connector finds none, and no refresh has failed.",
        ("provider",),
        lambda c: c.expired,
    ),
    Gauge(
        "refreshd_tokens_expiring",
        "Tokens that end within so many seconds from now.",
        ("within_seconds",),
        lambda c: c.expiring,
        old_name="refreshd_tokens_ending",
    ),
    Gauge(
        "refreshd_refresh_tokens_expiring",
        "Refresh tokens that end for good within so many seconds: their owners have to log in again.",
        ("within_seconds",),
        lambda c: c.refresh_tokens_expiring,
        old_name="refreshd_refresh_tokens_ending",
    ),
    Gauge(
        "refreshd_accounts_unpublished",
        "Accounts whose latest token is in SQL and not in Redis.",
        (),
        lambda c: {(): c.unpublished},
    ),
    Gauge(
        "refreshd_job_last_success_timestamp_seconds",
        "When a periodic task (plan, reconcile ...) last ended, epoch seconds; 0: never.",
        ("task",),
        lambda c: {(name,): at or 0.0 for name, at in _jobs(c).items()},
    ),
    Gauge(
        "refreshd_callback_accounts",
        "Accounts that a callback refreshes.",
        ("callback",),
        lambda c: dict(_most_common(c.callbacks)),
    ),
    Gauge(
        "refreshd_pauses",
        "Pauses in force (`refreshd pause`).",
        ("scope",),
        lambda c: c.pauses,
    ),
    Gauge(
        "refreshd_webhooks_waiting",
        "Webhooks that have not arrived yet.",
        (),
        lambda c: {(): c.webhooks.waiting},
    ),
    Gauge(
        "refreshd_webhooks_oldest_waiting_seconds",
        "Age of the oldest of them.",
        (),
        lambda c: {(): c.webhooks.oldest_s},
    ),
    Gauge(
        "refreshd_webhooks_dead_lettered",
        "Webhooks that were given up until `refreshd webhooks retry`.",
        (),
        lambda c: {(): c.webhooks.dead_lettered},
        old_name="refreshd_webhooks_put_aside",
    ),
)

#: Of the release before: an age by the database's clock, where there is a time now.
_OLD_COUNTS: Final[tuple[Gauge[ExportedCounts], ...]] = (
    Gauge(
        "refreshd_duty_age_seconds",
        f"{DEPRECATED}refreshd_job_last_success_timestamp_seconds.",
        ("duty",),
        lambda c: {(name,): _NEVER if at is None else max(c.now - at, 0.0) for name, at in _jobs(c).items()},
    ),
)

_REDIS: Final[tuple[Gauge[GateCounts], ...]] = (
    Gauge("refreshd_queue_messages", "Messages that wait.", ("queue",), lambda g: g.queues),
    Gauge(
        "refreshd_breaker_open",
        "1: an origin of the provider (or callback:NAME) was down for several accounts, and its gate is closed.",
        ("provider",),
        lambda g: {key: 0 if key[0] in g.many_origins else min(n, 1) for key, n in g.down.items()},
    ),
    Gauge(
        "refreshd_provider_paused",
        "1: the provider asked for a pause (429, Retry-After).",
        ("provider",),
        lambda g: {key: min(number, 1) for key, number in g.paused.items()},
    ),
    Gauge(
        "refreshd_hosts_down",
        "Origins of the provider whose gates are closed because they were down for several accounts.",
        ("provider",),
        lambda g: g.down,
    ),
    Gauge("refreshd_gates_closed", "Gates that hold accounts, by cause.", ("cause",), lambda g: g.gates),
    Gauge("refreshd_held_accounts", "Accounts that gates hold, by cause.", ("cause",), lambda g: g.held),
)


def of_stores(stores: Mapping[str, StoreState]) -> Iterator[Metric]:
    """Yield which stores answer, how soon, and how old their numbers are."""
    for gauge in _STORES:
        yield from _families(gauge, gauge.values(stores))


def of_counts(counts: ExportedCounts) -> Iterator[Metric]:
    """Yield the numbers of the database."""
    names = _largest(counts)
    for gauge in _COUNTS + _OLD_COUNTS:
        values = gauge.values(counts)
        if gauge.labels[:1] == ("provider",):
            values = _folded(values, names)
        zeros = dict.fromkeys(_expected(gauge.labels, names), 0.0)
        yield from _families(gauge, zeros | dict(values))


def of_redis(
    found: RedisCounts, counts: ExportedCounts | None = None, *, many_origins: Collection[str] = ()
) -> Iterator[Metric]:
    """Yield the numbers of Redis: queues, and closed gates with the accounts that they hold.

    Args:
        found: what Redis counted.
        counts: what the database counted; None: it did not answer.
        many_origins: providers whose accounts have an origin of their own or their tenant's: one of them is not all.
    """
    gates = _gate_counts(found, counts, many_origins)
    for gauge in _REDIS:
        yield from _families(gauge, gauge.values(gates))
    yield _family(
        "refreshd_clock_offset_seconds",
        "By how much the clock of a worker or beat is ahead of Redis'.",
        ("process",),
        _by_name(found.clocks),
    )


def of_workers(live: LiveWorkers, queues: Sequence[str]) -> Iterator[Metric]:
    """Yield how many workers take from each queue, and how many beats answer."""
    taken = Counter(dict.fromkeys(queues, 0))
    taken.update(queue for names in live.workers.values() for queue in names if queue in taken)
    yield _family(
        "refreshd_workers", "Workers that answer and take from a queue.", ("queue",), _by_name(taken)
    )
    yield _family("refreshd_beats", "Beats that answer.", (), {(): live.beats})


def _gate_counts(
    found: RedisCounts, counts: ExportedCounts | None, many_origins: Collection[str]
) -> GateCounts:
    names = [] if counts is None else [*_largest(counts), *_callback_owners(counts)]
    down: Counter[str] = Counter(dict.fromkeys(names, 0))
    paused: Counter[str] = Counter(dict.fromkeys(names, 0))
    gates: Counter[str] = Counter({cause.value: 0 for cause in _CAUSES})
    held: Counter[str] = Counter({cause.value: 0 for cause in _CAUSES})
    for name, gate in found.closed.items():
        cause, provider = gate.cause or WaitReason.DOWN, gate.provider.partition("@")[0]
        owner = name if name.startswith("callback:") else provider if provider in names else OTHER
        gates[cause.value] += 1
        held[cause.value] += 0 if counts is None else counts.held.get((name,), 0)
        down[owner] += cause is WaitReason.DOWN
        paused[owner] += cause is WaitReason.THROTTLED
    return GateCounts(
        queues=_by_name(found.queues),
        down=_by_name(down),
        paused=_by_name(paused),
        gates=_by_name(gates),
        held=_by_name(held),
        many_origins=many_origins,
    )


def _expected(labels: tuple[str, ...], providers: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Return the series that are there even at 0, so that a rule can tell none from unknown."""
    match labels:
        case ("provider",):
            return [(name,) for name in providers]
        case ("provider", "status"):
            return [(name, status.value) for name in providers for status in Status]
        case ("scope",):
            return [(scope.value,) for scope in Scope]
    return ()


def _folded(values: Values, providers: Sequence[str]) -> Values:
    """Return the values with providers beyond the largest as one, `other`: labels are bounded."""
    folded: Counter[tuple[str, ...]] = Counter()
    for (name, *others), number in values.items():
        folded[name if name in providers else OTHER, *others] += int(number)
    return folded


def _largest(counts: ExportedCounts) -> list[str]:
    """Return the providers with most accounts."""
    sizes: Counter[str] = Counter()
    for (name, _), number in counts.by_status.items():
        sizes[name] += number
    return [name for name, _ in sizes.most_common(PROVIDERS_MAX)]


def _callback_owners(counts: ExportedCounts) -> list[str]:
    return [f"callback:{name}" for (name,), _ in _most_common(counts.callbacks)]


def _most_common(values: Mapping[tuple[str, ...], int]) -> list[tuple[tuple[str, ...], int]]:
    return Counter(dict(values)).most_common(PROVIDERS_MAX)


def _jobs(counts: ExportedCounts) -> Mapping[str, float | None]:
    return {PLAN: None, **counts.job_ended_at}


def _by_name(values: Mapping[str, float]) -> Values:
    return {(name,): value for name, value in values.items()}


def _families(gauge: Gauge[V], values: Values) -> Iterator[Metric]:
    yield _family(gauge.name, gauge.help, gauge.labels, values)
    if gauge.old_name:
        yield _family(gauge.old_name, f"{DEPRECATED}{gauge.name}.", gauge.labels, values)


def _family(name: str, words: str, labels: Sequence[str], values: Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, float(value))
    return family
