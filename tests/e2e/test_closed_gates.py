"""While a gate is closed, what a person forces and what a connector reports goes through, for sick and for healthy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from refreshd_reader import Reader
from tests.support.absence import Absence
from tests.support.fleet import Fleet
from tests.support.imported import forced, import_accounts
from tests.support.providers.grants import Fault
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.services import redis_server
from tests.support.sickness import Neighbourhood, Sickness, write_providers
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.migrate import upgrade

LIFETIME_S: Final = 12.0
#: The one healthy account has no call of its own to make: nothing but these tests calls for it.
LONG_LIFETIME_S: Final = 86_400.0
#: Each closes a gate of its own: the client's twice, the client's at the origin, the origin's.
CLOSERS: Final = (Fault.INVALID_CLIENT, Fault.UNAUTHORIZED, Fault.RATE_LIMITED, Fault.UNAVAILABLE)
#: A healthy account's success may open a gate, so each test has a gate to itself.
ASKED: Final = ("forced-sick", "forced-well", "reported-well")


@dataclass(frozen=True, slots=True)
class Closed:
    """A fleet all of whose gates are closed."""

    world: World
    neighbourhoods: dict[str, Neighbourhood]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    folder = tmp_path_factory.mktemp("gates")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        database_url = f"sqlite:///{folder / 'refreshd.db'}"
        upgrade(database_url)
        places = [built(fault, asked, stack) for fault in CLOSERS for asked in ASKED]
        write_providers(folder / "providers.yaml", [place.name for place in places])
        world = World(
            database_url, redis.url, folder, places[0].provider,
            call_timeout_s="3", providers_file=str(folder / "providers.yaml"),
        )  # fmt: skip
        stack.callback(world.close)
        fleet = stack.enter_context(Fleet(world.environment, folder))
        fleet.worker()
        fleet.beat()
        fleet.wait_ready()
        _close(world, places, folder, redis.url)
        yield Closed(world, {place.name: place for place in places})


def built(fault: Fault, asked: str, stack: ExitStack) -> Neighbourhood:
    """Build one healthy account beside eight of one client that turn, at an origin of their own."""
    provider = stack.enter_context(ScriptedProvider(latency_s=0.1, lifetime_s=LIFETIME_S))
    sickness = Sickness(name=fault.value, fault=fault, proven=8, never=0)
    place = Neighbourhood(f"{fault.value}-{asked}", sickness, provider, well=1)
    provider.lifetimes_s = dict.fromkeys(place.healthy, LONG_LIFETIME_S)
    return place


def _close(world: World, places: list[Neighbourhood], folder: Path, redis_url: str) -> None:
    """Have all sick accounts turn, and wait until each of their tokens has ended: each had its call, or was held."""
    sick = [account for place in places for account in place.sick]
    everybody = [*sick, *(account for place in places for account in place.healthy)]
    with Absence(redis_url, everybody) as absence:
        import_accounts(
            world, [row for place in places for row in place.rows([*place.healthy, *place.sick])], folder
        )
        wait_until(lambda: absence.have(everybody), "each account has a token")
        for place in places:
            place.turned = True
        wait_until(lambda: set(sick) <= set(absence.absent), "every sick account's token has ended")


@pytest.mark.parametrize("fault", CLOSERS)
def test_a_forced_refresh_of_a_sick_account_is_a_call(closed: Closed, fault: Fault) -> None:
    place = closed.neighbourhoods[f"{fault.value}-forced-sick"]
    account = place.sick[0]
    calls = len(place.provider.grants[account].calls)

    outcome = forced(closed.world, account)

    assert outcome["outcome"] in {"retry", "rate_limited", "misconfigured"}, outcome
    assert len(place.provider.grants[account].calls) > calls


@pytest.mark.parametrize("fault", CLOSERS)
def test_a_forced_refresh_of_a_healthy_account_brings_a_token(closed: Closed, fault: Fault) -> None:
    place = closed.neighbourhoods[f"{fault.value}-forced-well"]

    assert forced(closed.world, place.healthy[0])["outcome"] == "refreshed"


@pytest.mark.parametrize("fault", CLOSERS)
def test_a_report_of_the_current_generation_brings_a_token(closed: Closed, fault: Fault) -> None:
    (account,) = closed.neighbourhoods[f"{fault.value}-reported-well"].healthy

    with Reader.from_url(closed.world.environment["REFRESHD_REDIS_URL"]) as reader:
        rejected = reader.get(account).generation
        reader.report_rejected(account, rejected, 401)

        assert reader.wait_for(account, newer_than=rejected, timeout_s=15).generation == rejected + 1
