"""A queue holds what workers take soon: enough for the next plans, and no pile that the urgent would wait behind."""

from __future__ import annotations

import pytest

from worker.policy.backlog import COLD_START, Begun, Queue, accounts_a_message

NOTHING = Begun()


@pytest.mark.parametrize(
    ("waiting", "begun", "room"),
    [
        (0, NOTHING, COLD_START),
        (2, NOTHING, 0),  # 100 accounts: half of what is assumed
        (1, NOTHING, COLD_START - 50),
        (0, Begun(850, 17), 850),  # 85 a second: ten seconds of it
        (8, Begun(850, 17), 450),  # less than half of it is left
        (9, Begun(850, 17), 0),
        (100, Begun(850, 340), 600),  # small messages: 250 accounts wait
        (0, Begun(50_000, 1_000), 200 * 50),  # the limit of messages
        (0, Begun(10, 10), COLD_START),  # a slow fleet
    ],
)
def test_the_room_of_a_queue_follows_what_is_taken_from_it(waiting: int, begun: Begun, room: int) -> None:
    assert Queue(waiting, group_size=50, limit=200).room(begun) == room


def test_large_groups_leave_room_once_their_queue_is_empty() -> None:
    assert Queue(1, group_size=1000, limit=200).room(NOTHING) == 0
    assert Queue(0, group_size=1000, limit=200).room(NOTHING) == COLD_START


@pytest.mark.parametrize(
    ("due", "group_size", "carried"),
    [
        (1, 50, 50),
        (800, 50, 50),  # sixteen messages of the usual size
        (1_600, 50, 100),
        (4_000, 50, 200),
        (100_000, 50, 200),
        (100_000, 1, 4),
        (100_000, 1_000, 1_000),  # no message holds more
    ],
)
def test_a_message_carries_more_accounts_as_the_backlog_grows(
    due: int, group_size: int, carried: int
) -> None:
    assert accounts_a_message(due, group_size) == carried
