"""One fleet of `benchmarks.isolation`: stores, providers, tenants, a worker, a beat, and who watches."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import text

from tests.support.absence import Absence
from tests.support.fleet import Fleet
from tests.support.imported import import_accounts
from tests.support.providers.grants import Fault, Grant
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.services import empty_database, redis_server
from tests.support.sickness import SICKNESSES, Neighbourhood, Sickness, Where, write_providers
from tests.support.world import World
from worker.db.migrate import upgrade

TENANTS: Final = 20
#: Two tenants share each port: a neighbour is somebody of another client, too.
PORTS: Final = TENANTS // 2
#: So many imports; each is a command, which a busy machine needs seconds for.
PARTS: Final = 4
LATENCY_S: Final = 0.2
CALL_TIMEOUT_S: Final = 5.0
#: A token that is absent for this long is noticed; more looks would cost what is measured.
LOOK_EVERY_S: Final = 1.0
#: The sick ones among so many accounts: one.
SICK_EVERY: Final = 10


class Pace:
    """The refreshes of each account since the last one before the measurement began. Times are the monotonic clock's.

    The rate is that of whole intervals, so it does not matter where in an interval a run begins or ends. An interval that
    is still open counts where it is longer than a token lives: that account is held.
    """

    def __init__(self, lifetime_s: float) -> None:
        self._lock = threading.Lock()
        self._lifetime_s = lifetime_s
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._intervals: Counter[str] = Counter()

    def note(self, account: str, at: float) -> None:
        with self._lock:
            self._intervals[account] += account in self._first
            self._first.setdefault(account, at)
            self._last[account] = at

    def begin(self) -> None:
        """Measure from each account's latest refresh on."""
        with self._lock:
            self._first = dict(self._last)
            self._intervals.clear()

    def per_s(self, accounts: Sequence[str]) -> float:
        """Return refreshes a second of all these together; 0 where there was none."""
        now = time.monotonic()
        with self._lock:
            known = [account for account in accounts if account in self._first]
            seconds = sum(self._last[a] - self._first[a] for a in known)
            seconds += sum(now - self._last[a] for a in known if now - self._last[a] > self._lifetime_s)
            intervals = sum(self._intervals[a] for a in known)
        return len(accounts) * intervals / seconds if seconds else 0.0


@dataclass
class Side:
    """A fleet that runs, and what is counted of it."""

    world: World
    folder: Path
    tenants: list[Neighbourhood]
    absence: Absence
    pace: Pace
    #: Calls that each tenant's sick accounts made, since they turned.
    sick_calls: Counter[str]

    @property
    def healthy(self) -> list[str]:
        return [account for tenant in self.tenants for account in tenant.healthy]

    def move_in(self, part: int) -> None:
        """Import everybody of a part who works at first. In parts, so that not all are due together ever after."""
        rows = [row for t in self.tenants[part::PARTS] for row in t.rows([*t.healthy, *t.proven])]
        import_accounts(self.world, rows, self.folder)

    def turn(self) -> None:
        """Have the sick ones be sick, and those that never work move in. What is measured begins here."""
        for tenant in self.tenants:
            tenant.turned = True
        import_accounts(self.world, [row for t in self.tenants for row in t.rows(t.never)], self.folder)
        self.pace.begin()
        self.sick_calls.clear()

    def absent(self, accounts: Sequence[str]) -> int:
        """Count the looks that found no token of these, after their first."""
        return sum(self.absence.absent[account] for account in accounts)

    def held(self) -> dict[str, Counter[str]]:
        """Return why calls of healthy accounts were not sent: tenant -> reason -> how often, by the history."""
        statement = text(
            "SELECT account_id, reason, SUM(repeats) FROM attempt WHERE outcome = 'not_sent' "
            "GROUP BY account_id, reason"
        )
        tenant_of = {account: t.name for t in self.tenants for account in t.healthy}
        found = {tenant.name: Counter[str]() for tenant in self.tenants}
        with self.world.stores.engine.connect() as connection:
            for account, reason, count in connection.execute(statement):
                if account in tenant_of:
                    found[tenant_of[account]][reason] += int(count)
        return found


@contextmanager
def side(
    folder: Path, *, accounts: int, lifetime_s: float, with_sick: bool, database: str, workers: int = 1
) -> Iterator[Side]:
    """Start a fleet of `TENANTS` tenants, its accounts not yet imported; end it."""
    folder.mkdir()
    with ExitStack() as stack:
        tenants = _tenants(accounts, lifetime_s, stack, with_sick=with_sick)
        pace, sick_calls = Pace(lifetime_s), Counter[str]()
        _count(tenants, pace, sick_calls)
        providers_file = folder / "providers.yaml"
        write_providers(providers_file, [tenant.name for tenant in tenants])
        world = stack.enter_context(
            fleet(
                folder, tenants[0].provider, database=database, workers=workers,
                providers_file=str(providers_file),
            )
        )  # fmt: skip
        healthy = [account for tenant in tenants for account in tenant.healthy]
        url = world.environment["REFRESHD_REDIS_URL"]
        absence = stack.enter_context(Absence(url, healthy, every_s=LOOK_EVERY_S))
        yield Side(world, folder, tenants, absence, pace, sick_calls)


@contextmanager
def fleet(
    folder: Path, provider: ScriptedProvider, *, database: str, workers: int = 1, **settings: str
) -> Iterator[World]:
    """Start stores, a beat and workers on them; end all of them."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        url = stack.enter_context(empty_database(database, folder))
        upgrade(url)
        world = World(url, redis.url, folder, provider, call_timeout_s=f"{CALL_TIMEOUT_S:g}", **settings)
        stack.callback(world.close)
        members = stack.enter_context(Fleet(world.environment, folder))
        for number in range(workers):
            members.worker(f"worker-{number + 1}")
        members.beat()
        members.wait_ready()
        yield world


def _tenants(accounts: int, lifetime_s: float, stack: ExitStack, *, with_sick: bool) -> list[Neighbourhood]:
    def provider() -> ScriptedProvider:
        return stack.enter_context(ScriptedProvider(latency_s=LATENCY_S, lifetime_s=lifetime_s))

    ports = [provider() for _ in range(PORTS)]
    each = accounts // TENANTS
    sick = max(each // SICK_EVERY, 1)
    tenants = []
    for number in range(TENANTS):
        kind = SICKNESSES[number % len(SICKNESSES)]
        sickness = _of_size(kind, sick if with_sick else 0)
        other = provider() if with_sick and kind.where is Where.OTHER_PORT else None
        tenants.append(
            Neighbourhood(f"tenant-{number:02}", sickness, ports[number % PORTS], other, well=each - sick)
        )
    return tenants


def _of_size(kind: Sickness, sick: int) -> Sickness:
    """Return a kind with so many accounts, half of them proven where it has both sorts."""
    proven = sick if not kind.never else 0 if not kind.proven else sick - sick // 2
    return replace(kind, proven=proven, never=sick - proven)


def _count(tenants: Sequence[Neighbourhood], pace: Pace, sick_calls: Counter[str]) -> None:
    """Have every call counted: good ones by account, those of sick accounts by tenant."""
    tenant_of = {account: t.name for t in tenants for account in t.sick}

    def counted(script: Callable[[Grant], Fault | None]) -> Callable[[Grant], Fault | None]:
        def counting(grant: Grant) -> Fault | None:
            fault = script(grant)
            if grant.account in tenant_of:
                sick_calls[tenant_of[grant.account]] += 1
            elif fault is None:
                pace.note(grant.account, time.monotonic())
            return fault

        return counting

    providers = {id(one): one for t in tenants for one in (t.provider, t.other) if one is not None}
    for provider in providers.values():
        provider.script = counted(provider.script)
