"""Beat's scheduler: Celery's, which waits until an entry is due and does not ask for the last ten milliseconds."""

from __future__ import annotations

from celery.beat import Scheduler


class BeatScheduler(Scheduler):
    """Remembers nothing: each entry is an interval, and a plan that runs twice does no harm.

    Celery's default keeps a file that a crash can leave unreadable, and then beat never starts again.
    """

    def adjust(self, n: float, drift: float = 0.0) -> float:
        """Return after how many seconds an entry is looked at: when it is due.

        Celery 5.7 looks 10 ms early, and then without a pause until the entry is due (findings/celery-beat-spins.sh): with a
        plan each second that was half of what beat cost.
        """
        return n + drift
