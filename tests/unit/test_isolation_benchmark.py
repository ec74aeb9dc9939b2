"""What `benchmarks.isolation` and the tests of gates judge by: each can be met, and missed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import pytest

from benchmarks.isolation_down import Origin
from benchmarks.isolation_side import Pace
from tests.e2e.test_provider_down import Turn, Window
from tests.support.providers.grants import Fault, Grant
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.sickness import SICKNESSES, Neighbourhood, Sickness, Where

LIFETIME_S: Final = 60.0


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(lifetime_s=LIFETIME_S) as made:
        yield made


def test_a_pace_is_that_of_whole_intervals() -> None:
    pace, now = Pace(LIFETIME_S), time.monotonic()
    for at in (-100.0, -70.0, -40.0, -10.0):
        pace.note("mia", now + at)

    assert pace.per_s(["mia"]) == pytest.approx(1 / 30)


def test_a_pace_is_measured_from_the_latest_refresh_on() -> None:
    pace, now = Pace(LIFETIME_S), time.monotonic()
    for at in (-100.0, -60.0):
        pace.note("mia", now + at)
    pace.begin()
    for at in (-40.0, -20.0):
        pace.note("mia", now + at)

    assert pace.per_s(["mia"]) == pytest.approx(1 / 20)


def test_an_account_that_is_held_slows_the_pace() -> None:
    pace, now = Pace(LIFETIME_S), time.monotonic()
    pace.note("held", now - 300)
    for at in (-60.0, -30.0, 0.0):
        pace.note("mia", now + at)

    assert pace.per_s(["held", "mia"]) == pytest.approx(2 * 2 / 360, rel=0.01)


def test_an_origin_counts_its_worst_ten_seconds(provider: ScriptedProvider) -> None:
    origin = Origin(provider)
    origin.calls = [0.0, 5.0, 100.0, 101.0, 109.0, 111.5]

    assert origin.most() == 3


def test_an_origin_counts_accounts_whose_call_came_before_their_tokens_end(
    provider: ScriptedProvider,
) -> None:
    origin = Origin(provider)
    origin.ends = {"soon": 10.0, "late": 10.0, "never": 10.0}
    origin.first = {"soon": 9.0, "late": 11.0}

    assert origin.in_time() == 1


#: Tokens that ended in the first window, by the account's name.
ENDS = {"a": 1.0, "b": 4.0, "c": 9.0}


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        pytest.param([(2, "a"), (2, "b"), (3, "c"), (3, "a")], [], id="in turn"),
        pytest.param([(2, "b"), (2, "a"), (3, "c"), (3, "b")], [], id="of one window, in any order"),
        pytest.param(
            [(2, "b"), (2, "c"), (3, "a"), (3, "b")],
            ["window 2: b before a", "window 2: c before a"],
            id="the first to end comes last",
        ),
        pytest.param(
            [(2, "a"), (2, "b"), (3, "a"), (3, "b")],
            ["window 3: a before c", "window 3: b before c"],
            id="two have their second turn before the third has one",
        ),
    ],
)
def test_who_was_overtaken_after_a_pause(
    provider: ScriptedProvider, taken: list[tuple[int, str]], found: list[str]
) -> None:
    window = Window(provider, dict(ENDS))
    for number, account in taken:
        at = number * 10.0
        window.turns.append(Turn(number, account, at, window.ends[account]))
        window.ends[account] = at + 8
    window.number = 4

    assert window.overtaken() == found


@pytest.mark.parametrize("sickness", SICKNESSES, ids=lambda one: one.name)
def test_only_sick_accounts_are_refused_and_proven_ones_once_they_have_turned(
    provider: ScriptedProvider, sickness: Sickness
) -> None:
    with ScriptedProvider() as other:
        place = Neighbourhood(
            "place", sickness, provider, other if sickness.where is Where.OTHER_PORT else None
        )
    turned = {}
    for place.turned in (False, True):
        turned[place.turned] = {a for a in [*place.healthy, *place.sick] if place.fault(Grant(a))}

    assert turned == {False: set(place.never), True: set(place.sick)}


def test_neighbourhoods_share_a_port(provider: ScriptedProvider) -> None:
    first, second = (Sickness(name=fault, fault=fault) for fault in (Fault.RESET, Fault.FORBIDDEN))
    places = [Neighbourhood(one.name, one, provider) for one in (first, second)]

    assert [provider.script(Grant(place.never[0])) for place in places] == [Fault.RESET, Fault.FORBIDDEN]
