"""Calls a second at an origin that answers nothing but 503, by how many accounts it has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from benchmarks.isolation_side import LATENCY_S, LOOK_EVERY_S, fleet
from benchmarks.processes import BenchmarkBroken
from tests.support.absence import Absence
from tests.support.imported import import_accounts
from tests.support.providers.grants import Fault, Grant
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.sickness import CALLS_PER_S, CALLS_SLACK, Neighbourhood, Sickness, write_providers

#: A bound that only holds on average is none: no ten seconds may hear more either.
WINDOW_S: Final = 10.0
#: How long before its end a token of some minutes is due, at least.
MARGIN_S: Final = 60.0
#: First tokens of 10,000 accounts, on a busy machine.
START_DEADLINE_S: Final = 600.0


class Origin:
    """What is counted of one origin: all calls since it went down, and when each account's latest token ends."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self._lock = threading.Lock()
        self._lifetime_s = provider.lifetime_s
        self.is_down = False
        self.calls: list[float] = []
        self.first: dict[str, float] = {}
        self.ends: dict[str, float] = {}
        provider.script = self

    def __call__(self, grant: Grant) -> Fault | None:
        now = time.monotonic()
        with self._lock:
            if not self.is_down:
                self.ends[grant.account] = now + self._lifetime_s
                return None
            self.calls.append(now)
            self.first.setdefault(grant.account, now)
            return Fault.UNAVAILABLE

    def most(self) -> int:
        """Count the calls of the worst `WINDOW_S` seconds."""
        calls = list(self.calls)
        most = start = 0
        for number, at in enumerate(calls):
            while calls[start] < at - WINDOW_S:
                start += 1
            most = max(most, number - start + 1)
        return most

    def in_time(self) -> int:
        """Count the accounts that had a call before their token ended."""
        return sum(self.first.get(account, float("inf")) <= end for account, end in self.ends.items())


@dataclass
class Down:
    """A fleet whose accounts are all at one origin."""

    tenant: Neighbourhood
    origin: Origin
    absence: Absence

    @property
    def waiting(self) -> int:
        """How many accounts have had no token yet."""
        self.absence.check()
        return self.tenant.well - len(self.absence.seen)


@contextmanager
def _down(folder: Path, count: int, lifetime_s: float, database: str) -> Iterator[Down]:
    """Start one, and import its accounts."""
    folder.mkdir()
    with ScriptedProvider(latency_s=LATENCY_S, lifetime_s=lifetime_s) as provider:
        nobody = Sickness(name="none", fault=Fault.UNAVAILABLE, proven=0, never=0)
        tenant = Neighbourhood("down", nobody, provider, well=count)
        origin = Origin(provider)
        providers_file = folder / "providers.yaml"
        write_providers(providers_file, [tenant.name])
        with fleet(folder, provider, database=database, providers_file=str(providers_file)) as world:
            url = world.environment["REFRESHD_REDIS_URL"]
            with Absence(url, tenant.healthy, every_s=LOOK_EVERY_S) as absence:
                import_accounts(world, tenant.rows(tenant.healthy), folder)
                yield Down(tenant, origin, absence)


def measure(
    counts: Sequence[int],
    *,
    minutes: float,
    lifetime_s: float,
    database: str,
    folder: Path,
    show: Callable[[str], None],
) -> tuple[Table, bool]:
    """Measure fleets of so many accounts beside each other.

    Tells whether each origin heard no more than its bound, and each account had a call before its token ended where the bound
    has room for that.
    """
    # Until every token has ended, and a little more.
    seconds = max(minutes * 60, lifetime_s + WINDOW_S)
    with ExitStack() as stack:
        fleets = [
            stack.enter_context(_down(folder / f"down-{count}", count, lifetime_s, database))
            for count in counts
        ]
        deadline = time.monotonic() + START_DEADLINE_S
        while waiting := sum(one.waiting for one in fleets):
            if time.monotonic() > deadline:
                raise BenchmarkBroken(f"{waiting} accounts had no token within {START_DEADLINE_S:g} seconds")
            show(f"{waiting} accounts have no token yet")
            time.sleep(LOOK_EVERY_S)
        for one in fleets:
            one.origin.is_down = True
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            calls = ", ".join(f"{one.tenant.well} accounts {len(one.origin.calls)}" for one in fleets)
            show(f"down for {passed:.0f} s of {seconds:.0f}; calls: {calls}")
            time.sleep(LOOK_EVERY_S)
        show("")
        return _table([one.origin for one in fleets], seconds, lifetime_s)


def _table(origins: Sequence[Origin], seconds: float, lifetime_s: float) -> tuple[Table, bool]:
    table = Table(title=f"an origin that answers 503 for {seconds:.0f} s, tokens of {lifetime_s:g} s")
    for heading in (
        "accounts",
        "calls",
        "calls/s",
        f"worst {WINDOW_S:g} s, calls/s",
        "bound",
        "called in time",
    ):
        table.add_column(heading, justify="right")
    all_met = True
    for origin in origins:
        count, called = len(origin.ends), origin.in_time()
        within = origin.most() <= CALLS_PER_S * WINDOW_S + CALLS_SLACK
        # Half of the time between when a token is due and its end is certainly there to be called in.
        has_room = count <= CALLS_PER_S * min(MARGIN_S, lifetime_s / 2) / 2
        in_time = called == count or not has_room
        all_met &= within and in_time
        table.add_row(
            f"{count:,}",
            str(len(origin.calls)),
            f"{len(origin.calls) / seconds:.2f}",
            f"{origin.most() / WINDOW_S:.2f}" + ("" if within else " MISSED"),
            f"{CALLS_PER_S:g}/s + {CALLS_SLACK}",
            f"{called:,} of {count:,}" + ("" if in_time else " MISSED"),
        )
    return table, all_met
