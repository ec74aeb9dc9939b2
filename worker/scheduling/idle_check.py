"""Whether a plan would find nothing to do, as most do: one look at each store tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from worker.db.planning.glance import Glance

#: So long after a whole plan the next one has ended: `status` and `doctor` tell of the last one. In seconds.
WHOLE_EVERY_S: Final = 5.0


class IdleCheck:
    """Looks before a plan is made.

    Args:
        glance: looks at the database.
        filled: reads the mark that says from which filling Redis' content is; None: Redis was emptied.
        works_ahead: returns whether, by the note of the last plan, the next one begins accounts that are not due, or counts them.
        interval_s: seconds between two plans.
    """

    def __init__(
        self,
        *,
        glance: Callable[[], Glance],
        filled: Callable[[], str | None],
        works_ahead: Callable[[Glance], bool],
        interval_s: float,
    ) -> None:
        self._glance = glance
        self._filled = filled
        self._works_ahead = works_ahead
        self._fresh_s = WHOLE_EVERY_S - interval_s
        self._looked = False

    def is_idle(self) -> bool:
        """Return whether a plan would find nothing, and a whole one was made a moment ago. A process' first plan is whole.

        Raises:
            DatabaseUnreachable, RedisUnreachable: a store is away.
        """
        first, self._looked = not self._looked, True
        if first:
            return False
        seen = self._glance()
        if seen.work or seen.planned_ago_s is None or not 0 <= seen.planned_ago_s < self._fresh_s:
            return False
        if self._works_ahead(seen):
            return False
        return seen.filled is not None and self._filled() == seen.filled
