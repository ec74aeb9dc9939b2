"""A healthy account is never without a token because of a neighbour, whatever ails that one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.absence import Absence
from tests.support.fleet import Fleet
from tests.support.imported import import_accounts
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.services import redis_server
from tests.support.sickness import SICKNESSES, Neighbourhood, Sickness, Where, write_providers
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.migrate import upgrade

#: Refreshed after about 10 s: a healthy account that is held for the other ten is without a token.
LIFETIME_S: Final = 20.0
#: Three lifetimes: whoever is held from the first minute on is noticed.
WATCHED_S: Final = 60.0
#: The neighbourhood in which all sick ones share the client of the same ten healthy accounts.
CROWD: Final = "crowd"


@dataclass(frozen=True, slots=True)
class Watched:
    """What a reader saw of all neighbourhoods."""

    world: World
    neighbourhoods: dict[str, Neighbourhood]
    absence: Absence

    def without(self, name: str) -> dict[str, str]:
        """Return the healthy accounts that were without a token, in how many looks, and why by their history."""
        return {
            one: f"{self.absence.absent[one]} looks: {self._reasons(one)}"
            for one in self.neighbourhoods[name].healthy
            if self.absence.absent[one]
        }

    def _reasons(self, account: str) -> list[str]:
        found = {f"{attempt.outcome} {attempt.reason}" for attempt in self.world.attempts(account)}
        return sorted(found - {"refreshed refreshed"})


def built(sickness: Sickness, stack: ExitStack) -> Neighbourhood:
    """Build a neighbourhood at an origin of its own."""

    def provider() -> ScriptedProvider:
        return stack.enter_context(ScriptedProvider(latency_s=0.1, lifetime_s=LIFETIME_S))

    other = provider() if sickness.where is Where.OTHER_PORT else None
    return Neighbourhood(sickness.name, sickness, provider(), other)


def crowd(stack: ExitStack) -> list[Neighbourhood]:
    """Build ten healthy accounts beside everything at once: one client, one origin, and one other port of its host."""
    here, other = (
        stack.enter_context(ScriptedProvider(latency_s=0.1, lifetime_s=LIFETIME_S)) for _ in range(2)
    )
    return [
        Neighbourhood(
            f"{CROWD}-{sickness.name}", sickness, here,
            other if sickness.where is Where.OTHER_PORT else None,
            well=0 if number else 10,
            shared=CROWD,
        )
        for number, sickness in enumerate(SICKNESSES)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """All neighbourhoods beside each other: healthy at first, then the sick ones turn, and more move in."""
    folder = tmp_path_factory.mktemp("neighbours")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        database_url = f"sqlite:///{folder / 'refreshd.db'}"
        upgrade(database_url)
        places = [*(built(sickness, stack) for sickness in SICKNESSES), *crowd(stack)]
        providers_file = folder / "providers.yaml"
        write_providers(providers_file, {place.shared or place.name for place in places})
        world = World(
            database_url, redis.url, folder, places[0].provider,
            call_timeout_s="3", providers_file=str(providers_file),
        )  # fmt: skip
        stack.callback(world.close)
        fleet = stack.enter_context(Fleet(world.environment, folder))
        fleet.worker()
        fleet.beat()
        fleet.wait_ready()
        absence = _watch(world, places, stack, folder)
        yield Watched(world, {place.name: place for place in places}, absence)


def _watch(world: World, places: list[Neighbourhood], stack: ExitStack, folder: Path) -> Absence:
    everybody = [account for place in places for account in (*place.healthy, *place.proven)]
    healthy = [account for place in places for account in place.healthy]
    firsts = Absence(world.environment["REFRESHD_REDIS_URL"], everybody)
    with firsts:
        import_accounts(
            world, [row for place in places for row in place.rows([*place.healthy, *place.proven])], folder
        )
        wait_until(lambda: firsts.have(everybody), "each account that works has a token")
    absence = stack.enter_context(Absence(world.environment["REFRESHD_REDIS_URL"], healthy))
    for place in places:
        place.turned = True
    import_accounts(world, [row for place in places for row in place.rows(place.never)], folder)
    until = time.monotonic() + WATCHED_S
    wait_until(lambda: time.monotonic() > until, "watched", 2 * WATCHED_S)
    absence.check()
    return absence


@pytest.mark.parametrize("name", [sickness.name for sickness in SICKNESSES])
def test_a_healthy_account_is_never_without_a_token_beside(watched: Watched, name: str) -> None:
    assert watched.absence.have(watched.neighbourhoods[name].healthy)
    assert watched.without(name) == {}


def test_a_healthy_account_is_never_without_a_token_beside_all_of_them_at_once(watched: Watched) -> None:
    name = f"{CROWD}-{SICKNESSES[0].name}"

    assert watched.absence.have(watched.neighbourhoods[name].healthy)
    assert watched.without(name) == {}


@pytest.mark.parametrize(
    "name", [sickness.name for sickness in SICKNESSES if sickness.where is not Where.NOWHERE]
)
def test_the_sick_ones_were_called_and_refused(watched: Watched, name: str) -> None:
    place = watched.neighbourhoods[name]
    asked = place.other or place.provider
    refused = {a for a in place.sick if any(call.fault for call in asked.grants[a].calls)}
    assert refused, "this run proved nothing"
