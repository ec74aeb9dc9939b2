"""How many accounts a plan may send: as many as workers begin soon, so that what is more urgent never waits behind a pile.

Pure. Messages wait in the order in which they were sent, so whatever comes due after them waits until they are taken. A
short queue keeps the order of need; one that is empty keeps workers waiting for a plan.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

#: Beat plans every second; without a plan for this long, none is made.
PLAN_LATE_S: Final = 15.0
#: Attempts are counted over this long. Shorter, and one slow group would look like a stop.
TAKEN_WITHIN_S: Final = 10.0
#: A queue holds what workers take in this long: a sixth of a message's life, and several plans.
QUEUED_S: Final = 10.0
#: A queue is filled up once it is this empty: a plan then sorts what is due every few seconds, not each second.
FILL_BELOW: Final = 0.5
#: Accounts to send while nothing is known of the workers: the slowest fleet takes so many within a message's life.
COLD_START: Final = 200
#: ... of those that callbacks refresh, one a process at a time.
CALLBACK_COLD_START: Final = 40
#: A message never holds more accounts; one that does is not ours.
ACCOUNTS_MAX: Final = 1_000

#: A message carries up to so many times REFRESHD_GROUP_SIZE where many accounts are due at once. Each message costs a worker
#: some 10 ms of CPU, whatever it carries; beyond, the calls of one group would keep the event loop from others' answers.
GROWTH_MAX: Final = 4
#: Messages that a plan makes of a backlog before it makes them larger: two for each thread of a worker.
MESSAGES_WANTED: Final = 16


def accounts_a_message(due: int, group_size: int) -> int:
    """Return how many accounts one message carries: `group_size`, and more where a plan sends many at once."""
    return max(group_size, min(math.ceil(due / MESSAGES_WANTED), group_size * GROWTH_MAX, ACCOUNTS_MAX))


class Begun(Struct, frozen=True):
    """What workers began within `TAKEN_WITHIN_S` seconds."""

    accounts: int = 0
    #: Messages that carried these accounts.
    messages: int = 0


class Queue(Struct, frozen=True):
    """A queue of refresh messages, as a plan finds it."""

    #: Messages that wait in the queue.
    waiting: int
    #: Most accounts in one message.
    group_size: int
    #: Most messages that may wait.
    limit: int
    #: Accounts to send while the rate of the workers is unknown.
    cold_start: int = COLD_START

    def room(self, begun: Begun) -> int:
        """Return how many accounts may be sent to the queue."""
        most = max(round(begun.accounts / TAKEN_WITHIN_S * QUEUED_S), self.cold_start)
        most = min(most, self.limit * self.group_size)
        # Many providers, small messages: the queue holds fewer accounts than it could.
        size = begun.accounts / begun.messages if begun.messages else self.group_size
        queued = math.ceil(self.waiting * size)
        return 0 if queued and queued >= most * FILL_BELOW else most - queued
