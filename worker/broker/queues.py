"""The queues of the broker, who takes from them, and how long a message of ours may lie in one."""

from __future__ import annotations

from typing import Final

URGENT: Final = "urgent"
CONTROL: Final = "control"
REFRESH: Final = "refresh"
CALLBACK: Final = "callback"
#: In the order in which a worker empties them: forced and reported refreshes before the plan's.
QUEUES: Final = (URGENT, CONTROL, REFRESH, CALLBACK)
#: What a worker takes from without -Q: it takes from `callback` where it is asked to.
STANDARD_QUEUES: Final = (URGENT, CONTROL, REFRESH)

#: What starts a worker of standard refreshes, and one of callbacks: pages that miss one say so.
STANDARD_WORKER: Final = "celery -A worker.app worker -n refresh@%h -P threads -c 8 -Q urgent,control,refresh"
CALLBACK_WORKER: Final = "celery -A worker.app worker -n callback@%h -P threads -Q callback"

#: A message lives this long: enough for clocks that are off by seconds, short enough that a fleet that was
#: stopped finds no pile.
MESSAGE_EXPIRES_S: Final = 60.0
