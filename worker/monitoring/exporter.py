"""The fleet's gauges for Prometheus, from SQL, Redis and the workers that answer: looked at when they are asked for.

docs/monitoring.md says what each name means. What can't be asked is left out, and `refreshd_up` says so: a number
that nobody knows must not look like the last one that somebody knew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from models.account import Status
from models.pause import Scope
from models.rate_limit import WaitReason
from worker.context import AppContext
from worker.db.fleet.counts import FleetCounts, count
from worker.monitoring.cached_query import CachedQuery
from worker.monitoring.metrics import OTHER, PROVIDERS_MAX
from worker.redis.counts import LiveWorkers, RedisCounts, look_at_traffic

#: However many ask, and however often: SQL and Redis are looked at this often.
FRESH_S: Final = 10.0
#: A scrape waits so long for each of them; Prometheus gives up after 10 s by default.
DATABASE_PATIENCE_S: Final = 5.0
REDIS_PATIENCE_S: Final = 3.0
#: A look that is slow, on a busy database, is no outage: the numbers before are given for so long.
KEPT_S: Final = 30.0
WORKERS_KEPT_S: Final = 60.0
WORKERS_PATIENCE_S: Final = 5.0

DATABASE: Final = "database"
REDIS: Final = "redis"
STORES: Final = (DATABASE, REDIS)
PLAN: Final = "plan"


class FleetCollector(Collector):
    """Looks at the fleet when it is scraped.

    Args:
        here: the stores.
        queues: names of the queues.
        staff: asks workers and beats.
    """

    def __init__(self, here: AppContext, *, queues: Sequence[str], staff: Callable[[], LiveWorkers]) -> None:
        self._here = here
        self._queues = queues
        self._gates: list[str] = []
        known = here.providers.known.values()
        self._many_origins = frozenset(one.name for one in known if one.host is None)
        self._census = CachedQuery(
            DATABASE,
            lambda: count(here.engine),
            fresh_s=FRESH_S,
            kept_s=KEPT_S,
            patience_s=DATABASE_PATIENCE_S,
            patience_with_older_s=DATABASE_PATIENCE_S,
        )
        self._traffic = CachedQuery(
            REDIS,
            self._look_at_redis,
            fresh_s=FRESH_S,
            kept_s=KEPT_S,
            patience_s=REDIS_PATIENCE_S,
            patience_with_older_s=REDIS_PATIENCE_S,
        )
        # Workers take two seconds to answer: theirs may be the answers to the scrape before.
        self._staff = CachedQuery(
            "workers",
            staff,
            fresh_s=FRESH_S,
            kept_s=WORKERS_KEPT_S,
            patience_s=WORKERS_PATIENCE_S,
            patience_with_older_s=0,
        )

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: to register a collector must not look at stores."""
        return ()

    def collect(self) -> Iterator[Metric]:
        census = self._census.answer()
        if census is not None:
            self._gates = list(census.held)
        traffic = self._traffic.answer()
        up = {DATABASE: census is not None, REDIS: traffic is not None}
        yield from of_stores(up, {DATABASE: self._census.took_s, REDIS: self._traffic.took_s})
        if census is not None:
            yield from of_census(census)
        if traffic is not None:
            yield from of_traffic(traffic, census, many_origins=self._many_origins)
            staff = self._staff.answer()
            if staff is not None:
                yield from of_staff(staff, self._queues)

    def _look_at_redis(self) -> RedisCounts:
        here = self._here
        return look_at_traffic(
            here.redis,
            here.settings.redis_prefix,
            queues=self._queues,
            gates=self._gates,
            now=here.clock.now(),
        )


#: Why a gate closes.
_CAUSES: Final = (WaitReason.DOWN, WaitReason.REFUSED, WaitReason.THROTTLED)


def of_stores(up: Mapping[str, bool], took_s: Mapping[str, float]) -> Iterator[Metric]:
    """Return which stores answer, and how soon."""
    yield _gauge("refreshd_up", "Whether a store answers.", ("store",), _by_name(up))
    yield _gauge(
        "refreshd_look_duration_seconds",
        "Time that the last look at a store took.",
        ("store",),
        _by_name(took_s),
    )


def of_census(census: FleetCounts) -> Iterator[Metric]:
    """Return what the database tells."""
    names = set(_largest(census))

    def provider(name: str) -> str:
        return name if name in names else OTHER

    accounts: Counter[tuple[str, ...]] = Counter({(name, s.value): 0 for name in names for s in Status})
    failing: Counter[tuple[str, ...]] = Counter()
    overdue: Counter[tuple[str, ...]] = Counter({(name,): 0 for name in names})
    expired: Counter[tuple[str, ...]] = Counter({(name,): 0 for name in names})
    for (name, status), number in census.accounts.items():
        accounts[provider(name), status] += number
    for (name, status, reason), number in census.failing.items():
        failing[provider(name), status, reason] += number
    for name, late in census.overdue.items():
        overdue[provider(name),] += late.accounts
    for name, late in census.expired.items():
        expired[provider(name),] += late.accounts
    worst_s = max((late.worst_s for late in census.overdue.values()), default=0.0)
    ages = {PLAN: None, **census.duty_age_s}
    yield _gauge("refreshd_accounts", "Accounts by provider and status.", ("provider", "status"), accounts)
    yield _gauge(
        "refreshd_accounts_failing",
        "Accounts that are degraded, to be re-authorized or misconfigured, and why: the largest groups.",
        ("provider", "status", "reason"),
        failing,
    )
    yield _gauge("refreshd_accounts_overdue", "Accounts due for 10 s and more.", ("provider",), overdue)
    yield _gauge(
        "refreshd_oldest_overdue_seconds",
        "By how much the oldest overdue account is late.",
        (),
        {(): worst_s},
    )
    yield _gauge(
        "refreshd_tokens_expired_while_active",
        "Planned, active accounts whose token has ended: a connector finds none, and no refresh has failed.",
        ("provider",),
        expired,
    )
    yield _gauge(
        "refreshd_tokens_ending",
        "Tokens that end within so many seconds from now.",
        ("within_seconds",),
        {(str(s),): number for s, number in census.ending.items()},
    )
    yield _gauge(
        "refreshd_refresh_tokens_ending",
        "Refresh tokens that end for good within so many seconds: their owners have to log in again.",
        ("within_seconds",),
        {(str(s),): number for s, number in census.hard_ending.items()},
    )
    yield _gauge(
        "refreshd_accounts_unpublished",
        "Accounts whose latest token is in SQL and not in Redis.",
        (),
        {(): census.unpublished},
    )
    yield _gauge(
        "refreshd_duty_age_seconds",
        "Time since a plan, a reconcile ... was last finished; +Inf: never.",
        ("duty",),
        {(duty,): float("inf") if age is None else age for duty, age in ages.items()},
    )
    yield _gauge(
        "refreshd_callback_accounts",
        "Accounts that a callback refreshes.",
        ("callback",),
        {(name,): census.callbacks[name] for name in _callbacks(census)},
    )
    yield _gauge(
        "refreshd_pauses",
        "Pauses that somebody set (`refreshd pause`) and that are in force.",
        ("scope",),
        {(scope.value,): census.pauses.get(scope, 0) for scope in Scope},
    )
    yield _gauge(
        "refreshd_webhooks_waiting", "Webhooks that have not arrived yet.", (), {(): census.webhooks.waiting}
    )
    yield _gauge(
        "refreshd_webhooks_oldest_waiting_seconds",
        "Since when the oldest of them waits.",
        (),
        {(): census.webhooks.oldest_s},
    )
    yield _gauge(
        "refreshd_webhooks_put_aside",
        "Webhooks that were given up until somebody asks for them.",
        (),
        {(): census.webhooks.put_aside},
    )


def of_traffic(
    traffic: RedisCounts, census: FleetCounts | None = None, *, many_origins: Collection[str] = ()
) -> Iterator[Metric]:
    """Yield what Redis tells, and whom its gates hold.

    Args:
        traffic: the last look at Redis.
        census: the last look at the database; None: there was none.
        many_origins: providers whose accounts have an origin of their own or their tenant's: one of them is not all.
    """
    yield _gauge("refreshd_queue_messages", "Messages that wait.", ("queue",), _by_name(traffic.queues))
    names = (
        () if census is None else (*_largest(census), *(f"callback:{name}" for name in _callbacks(census)))
    )
    down: Counter[str] = Counter(dict.fromkeys(names, 0))
    paused: Counter[str] = Counter(dict.fromkeys(names, 0))
    gates: Counter[tuple[str, ...]] = Counter({(cause.value,): 0 for cause in _CAUSES})
    held: Counter[tuple[str, ...]] = Counter({(cause.value,): 0 for cause in _CAUSES})
    for name, gate in traffic.closed.items():
        cause, provider = gate.cause or WaitReason.DOWN, gate.provider.partition("@")[0]
        owner = name if name.startswith("callback:") else provider if provider in names else OTHER
        gates[cause.value,] += 1
        held[cause.value,] += 0 if census is None else census.held.get(name, 0)
        down[owner] += cause is WaitReason.DOWN
        paused[owner] += cause is WaitReason.THROTTLED
    yield _gauge(
        "refreshd_breaker_open",
        "1: an origin of the provider (or callback:NAME) was down for several accounts, and its gate is closed.",
        ("provider",),
        {(name,): 0 if name in many_origins else min(number, 1) for name, number in down.items()},
    )
    yield _gauge(
        "refreshd_provider_paused",
        "1: the provider asked to be left alone (429, Retry-After).",
        ("provider",),
        {(name,): min(number, 1) for name, number in paused.items()},
    )
    yield _gauge(
        "refreshd_hosts_down",
        "Origins of the provider whose gates are closed because they were down for several accounts.",
        ("provider",),
        _by_name(down),
    )
    yield _gauge("refreshd_gates_closed", "Gates that hold accounts, by cause.", ("cause",), gates)
    yield _gauge("refreshd_held_accounts", "Accounts that gates hold, by cause.", ("cause",), held)


def of_staff(staff: LiveWorkers, queues: Sequence[str]) -> Iterator[Metric]:
    """Return who is there to work."""
    taken = Counter(dict.fromkeys(queues, 0))
    taken.update(queue for names in staff.workers.values() for queue in names if queue in taken)
    yield _gauge(
        "refreshd_workers", "Workers that answer and take from a queue.", ("queue",), _by_name(taken)
    )
    yield _gauge("refreshd_beats", "Beats that answer.", (), {(): staff.beats})


def _by_name(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): value for name, value in values.items()}


def _largest(census: FleetCounts) -> list[str]:
    """Return the providers with most accounts: labels are bounded, whatever accounts call their provider."""
    sizes: Counter[str] = Counter()
    for (name, _), number in census.accounts.items():
        sizes[name] += number
    return [name for name, _ in sizes.most_common(PROVIDERS_MAX)]


def _callbacks(census: FleetCounts) -> list[str]:
    return [name for name, _ in Counter(dict(census.callbacks)).most_common(PROVIDERS_MAX)]


def _gauge(
    name: str, words: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, float(value))
    return family
