"""A provider that answers nothing but 503 or 429 is not hammered, and every account has its turn."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.conftest import MakeWorld
from tests.support.absence import Absence
from tests.support.fleet import Fleet
from tests.support.imported import import_accounts
from tests.support.providers.grants import Fault, Grant, refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.sickness import CALLS_PER_S, CALLS_SLACK, CLIENT_SECRET
from tests.support.waiting import wait_until
from tests.support.world import World

#: Refreshed after about 10 s.
LIFETIME_S: Final = 20.0
#: So few that each one's call before its token ends fits into the bound: 4 in each of those 10 s.
ACCOUNTS: Final = tuple(f"acct-{number:02}" for number in range(40))
DOWN_S: Final = 30.0


class Well:
    """The script of a provider that works: notes when each account's latest token ends, on the monotonic clock."""

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self.ends: dict[str, float] = {}

    def __call__(self, grant: Grant) -> Fault | None:
        self.ends[grant.account] = time.monotonic() + self._lifetime_s
        return None


def well_at_first(world: World, accounts: tuple[str, ...], redis_url: str, folder: Path) -> Well:
    """Import accounts, and wait until each has a token."""
    well = Well(world.provider.lifetime_s)
    world.provider.grant(accounts)
    world.provider.script = well
    rows = [
        {
            "id": account,
            "provider": "generic",
            "client_id": "client",
            "client_secret": CLIENT_SECRET,
            "refresh_token": refresh_token(account, 0),
            "token_url": world.provider.token_url,
        }
        for account in accounts
    ]
    with Absence(redis_url, accounts) as absence:
        import_accounts(world, rows, folder)
        wait_until(lambda: absence.have(accounts), "each account has a token")
    return well


def test_a_provider_that_is_down_is_called_within_the_bound_and_once_for_each_before_its_token_ends(
    make_world: MakeWorld, provider: ScriptedProvider, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    provider.latency_s, provider.lifetime_s = 0.1, LIFETIME_S
    world = make_world(sqlite_url, redis_url, call_timeout_s="3")
    calls: list[tuple[float, str]] = []

    def down(grant: Grant) -> Fault:
        calls.append((time.monotonic(), grant.account))
        return Fault.UNAVAILABLE

    with Fleet(world.environment, tmp_path) as fleet:
        fleet.worker()
        fleet.beat()
        fleet.wait_ready()
        well = well_at_first(world, ACCOUNTS, redis_url, tmp_path)
        began = time.monotonic()
        provider.script = down
        wait_until(lambda: time.monotonic() > began + DOWN_S, "down", 2 * DOWN_S)
        provider.script = lambda _: None
        down_s = time.monotonic() - began
        with Absence(redis_url, ACCOUNTS) as absence:
            wait_until(lambda: absence.have(ACCOUNTS), "each account has a token again")

    first = {account: at for at, account in reversed(calls)}
    too_late = [account for account, end in well.ends.items() if first.get(account, float("inf")) > end]
    assert (too_late, len(well.ends)) == ([], len(ACCOUNTS))
    assert len(calls) <= CALLS_PER_S * down_s + CALLS_SLACK
    assert provider.reuses == 0


#: The server of the MCP SDK takes 50 requests in 15 minutes from a client, which here are fewer in less time.
WINDOW_S: Final = 10.0
WINDOW_CALLS: Final = 6
WINDOWS: Final = 6
#: More than fit into a window, and fewer than into two.
MANY: Final = tuple(f"acct-{number:02}" for number in range(10))
#: Tokens that end in the midst of a pause.
SHORT_S: Final = 8.0
#: Calls that go out together arrive in any order: of tokens whose ends are no further apart either may be the first.
TOGETHER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One good answer. Times are the monotonic clock's."""

    window: int
    account: str
    at: float
    #: When the token ended that it replaced.
    ended_at: float


class Window:
    """A rate limit as web frameworks have it: so many calls in a window, 429 with its rest as Retry-After beyond."""

    def __init__(self, provider: ScriptedProvider, ends: dict[str, float]) -> None:
        self._provider = provider
        self._closes_at = 0.0
        self._left = 0
        self.ends = ends
        self.turns: list[Turn] = []
        self.number = 0

    def __call__(self, grant: Grant) -> Fault | None:
        now = time.monotonic()
        if now >= self._closes_at:
            self._closes_at, self._left = now + WINDOW_S, WINDOW_CALLS
            self.number += 1
        if self._left:
            self._left -= 1
            self.turns.append(Turn(self.number, grant.account, now, self.ends[grant.account]))
            self.ends[grant.account] = now + SHORT_S
            return None
        self._provider.retry_after_s = math.ceil(self._closes_at - now)
        return Fault.RATE_LIMITED

    def overtaken(self) -> list[str]:
        """Name each turn after a pause that was another's: one whose token had ended before, and who got none in it.

        The last window is not over, and does not count.
        """
        found = []
        for number in range(2, self.number):
            taken = [turn for turn in self.turns if turn.window == number]
            for waiting in self.ends.keys() - {turn.account for turn in taken}:
                later = (t.ended_at for t in self.turns if t.account == waiting and t.window > number)
                ended_at = next(later, self.ends[waiting])
                found += [
                    f"window {number}: {turn.account} before {waiting}"
                    for turn in taken
                    if ended_at < min(turn.at, turn.ended_at) - TOGETHER_S
                ]
        return found


def test_after_a_pause_the_token_that_ended_first_goes_first_and_everybody_once_before_anybody_twice(
    make_world: MakeWorld, provider: ScriptedProvider, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    provider.latency_s, provider.lifetime_s = 0.1, SHORT_S
    world = make_world(sqlite_url, redis_url, call_timeout_s="3")
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.worker()
        fleet.beat()
        fleet.wait_ready()
        well = well_at_first(world, MANY, redis_url, tmp_path)
        provider.script = window = Window(provider, well.ends)
        wait_until(lambda: window.number > WINDOWS, "so many windows")

    assert window.overtaken() == []
