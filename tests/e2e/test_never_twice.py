"""Never twice at once: beats that run twice, messages by the hundred, a provider that revokes on reuse."""

from __future__ import annotations

from typing import Final

from tests.support.fleet import Fleet
from tests.support.waiting import wait_until
from tests.support.world import World

ACCOUNTS: Final = [f"acct-{number}" for number in range(60)]
PUSHES: Final = 300


def test_two_beats_four_workers_and_hundreds_of_messages_refresh_each_generation_once(
    world: World, fleet: Fleet
) -> None:
    world.add(ACCOUNTS)
    for name in ("one", "two", "three", "four"):
        fleet.worker(name)
    for name in ("beat-one", "beat-two"):
        fleet.beat(name)
    for number in range(PUSHES):
        start = number % len(ACCOUNTS)
        world.push([(account, 1) for account in (ACCOUNTS + ACCOUNTS)[start : start + 10]])
    fleet.wait_ready()

    wait_until(lambda: world.all_refreshed(ACCOUNTS), "every account refreshed")
    for _ in range(PUSHES // 10):
        world.push(list(world.generations(ACCOUNTS).items()))
        world.push([(account, 1) for account in ACCOUNTS], reason="planned", queue="refresh")
    wait_until(lambda: pushed_further(world), "every account forced to a third generation")
    wait_until(lambda: not world.stores.redis.exists("urgent", "refresh", "control"), "all messages taken")
    wait_until(lambda: not world.provider.under_way, "all calls over")

    assert (world.provider.overlaps, world.provider.reuses) == (0, 0)
    wait_until(lambda: all(map(world.agrees_with_the_provider, ACCOUNTS)), "every answer stored")
    for account, generation in world.generations().items():
        assert generation - 1 == world.provider.grants[account].refreshes
    wait_until(lambda: all(map(world.is_published, ACCOUNTS)), "every answer published")


def pushed_further(world: World) -> bool:
    """Push what is not there yet: a message that met another one's lease was rightly dropped."""
    behind = [(account, seen) for account, seen in world.generations(ACCOUNTS).items() if seen == 2]
    if behind:
        world.push(behind)
    return not behind
