"""Whether a plan would find nothing: most plans of most fleets, so that they are asked for with one look at each store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from worker.db.planning.glance import Glance

#: A whole plan is made no less often: what `status` and `doctor` tell of the last one is that old at most.
WHOLE_EVERY_S: Final = 5.0


class IdleCheck:
    """Looks before a plan is made.

    Args:
        glance: looks at the database.
        filled: reads the mark that says from which filling Redis' content is; None: Redis was emptied.
        crowded: returns whether, by the note of the last plan, each plan begins accounts that are not due yet.
        compared: returns whether the comparison of Redis with the database looked at Redis a moment ago, and rests.
    """

    def __init__(
        self,
        *,
        glance: Callable[[], Glance],
        filled: Callable[[], str | None],
        crowded: Callable[[str | None], bool],
        compared: Callable[[], bool],
    ) -> None:
        self._glance = glance
        self._filled = filled
        self._crowded = crowded
        self._compared = compared
        self._looked = False

    def is_idle(self) -> bool:
        """Return whether a plan would find nothing, and one was made a moment ago. The first of a process is made.

        Raises:
            DatabaseUnreachable, RedisUnreachable: a store is away.
        """
        first, self._looked = not self._looked, True
        if first or not self._compared():
            return False
        seen = self._glance()
        if seen.work or seen.planned_ago_s is None or not 0 <= seen.planned_ago_s < WHOLE_EVERY_S:
            return False
        if self._crowded(seen.note):
            return False
        return seen.filled is not None and self._filled() == seen.filled
