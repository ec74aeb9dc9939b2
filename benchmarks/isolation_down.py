"""Calls a second at an origin that answers nothing but 503, by how many accounts it has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from benchmarks.isolation_side import LATENCY_S, LOOK_EVERY_S, fleet
from benchmarks.processes import BenchmarkBroken
from tests.acceptance.absence import Absence
from tests.acceptance.grants import Fault, Grant
from tests.acceptance.imported import import_accounts
from tests.acceptance.provider import ScriptedProvider
from tests.acceptance.sickness import CALLS_PER_S, CALLS_SLACK, Neighbourhood, Sickness, write_providers

#: A bound that only holds on average is none: no ten seconds may hear more either.
WINDOW_S: Final = 10.0
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


def down_table(
    counts: Sequence[int],
    *,
    minutes: float,
    lifetime_s: float,
    database: str,
    folder: Path,
    show: Callable[[str], None],
) -> tuple[Table, bool]:
    """Measure for each number of accounts.

    Tells whether the origin heard no more than its bound, and each account had a call before its token ended where the bound
    has room for that.
    """
    table = Table(title=f"an origin that answers 503 for {minutes:g} minutes, tokens of {lifetime_s:g} s")
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
    for count in counts:
        place = folder / f"down-{count}"
        place.mkdir()
        # Until every token has ended, and a little more.
        least_s = max(minutes * 60, lifetime_s + WINDOW_S)
        origin, seconds = _measure(place, count, least_s, lifetime_s, database, show)
        met = origin.most() <= CALLS_PER_S * WINDOW_S + CALLS_SLACK
        called = origin.in_time()
        # Due for half of their life: twice as many as these could have had their call by the bound.
        all_called = called == len(origin.ends) or count > CALLS_PER_S * lifetime_s / 4
        all_met &= met and all_called
        table.add_row(
            f"{count:,}",
            str(len(origin.calls)),
            f"{len(origin.calls) / seconds:.2f}",
            f"{origin.most() / WINDOW_S:.2f}" + ("" if met else " MISSED"),
            f"{CALLS_PER_S:g}, and {CALLS_SLACK} calls",
            f"{called:,} of {len(origin.ends):,}" + ("" if all_called else " MISSED"),
        )
    return table, all_met


def _measure(
    folder: Path, count: int, seconds: float, lifetime_s: float, database: str, show: Callable[[str], None]
) -> tuple[Origin, float]:
    with ScriptedProvider(latency_s=LATENCY_S, lifetime_s=lifetime_s) as provider:
        nobody = Sickness(name="none", fault=Fault.UNAVAILABLE, proven=0, never=0)
        tenant = Neighbourhood("down", nobody, provider, well=count)
        origin = Origin(provider)
        write_providers(folder / "providers.yaml", [tenant.name])
        providers_file = str(folder / "providers.yaml")
        with fleet(folder, provider, database=database, providers_file=providers_file) as world:
            url = world.environment["REFRESHD_REDIS_URL"]
            with Absence(url, tenant.healthy, every_s=LOOK_EVERY_S) as absence:
                import_accounts(world, tenant.rows(tenant.healthy), folder)
                deadline = time.monotonic() + START_DEADLINE_S
                while not absence.have(tenant.healthy):
                    if time.monotonic() > deadline:
                        raise BenchmarkBroken(f"{len(absence.seen)} of {count} accounts had a token in time")
                    show(f"{count} accounts: {len(absence.seen)} have a token")
                    time.sleep(LOOK_EVERY_S)
            origin.is_down = True
            began = time.monotonic()
            while (passed := time.monotonic() - began) < seconds:
                show(f"{count} accounts: down for {passed:.0f} s of {seconds:.0f}, {len(origin.calls)} calls")
                time.sleep(LOOK_EVERY_S)
            show("")
            return origin, time.monotonic() - began
