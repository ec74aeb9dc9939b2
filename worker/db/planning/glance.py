"""One statement that sees whether a plan has anything to do: of an idle fleet, nearly every plan has nothing."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Engine, text

from worker.db.engine import now_sql, reading
from worker.db.planning.ended_tokens import RECENT_S, has_ended
from worker.db.planning.schedule import some_due
from worker.db.publication.store import FIRST_UNPUBLISHED


class Glance(Struct, frozen=True):
    """What a plan would find."""

    #: The database's clock, epoch seconds.
    now: float
    #: Seconds since the last whole plan ended; None: there was none.
    planned_ago_s: float | None
    #: What the last plan left the next; None: nothing.
    note: str | None
    #: The mark that Redis was filled with; None: it never was.
    filled: str | None
    #: Something is due, held by a gate, paused, not published, or its token has ended.
    work: bool


class GlanceStore:
    """Looks at the first entry of each index that a plan walks along.

    Args:
        engine: the database.
        plan: the lock of plans.
        fill: the lock of what fills Redis, whose note is the mark.
    """

    def __init__(self, engine: Engine, *, plan: str, fill: str) -> None:
        now = now_sql(engine)
        ended = f"expires_at > {now} - {RECENT_S} AND {has_ended(now)}"
        work = (
            some_due(now),
            f"({FIRST_UNPUBLISHED}) IS NOT NULL",
            "(SELECT min(held_by) FROM account WHERE held_by IS NOT NULL) IS NOT NULL",
            f"(SELECT min(expires_at) FROM account WHERE {ended}) IS NOT NULL",
            "EXISTS (SELECT 1 FROM pause)",
            "EXISTS (SELECT 1 FROM label_pause)",
        )
        self._engine = engine
        self._names = {"plan": plan, "fill": fill}
        self._statement = text(
            f"""
            SELECT {now}, (SELECT finished_at FROM duty WHERE name = :plan), (SELECT note FROM duty WHERE name = :plan),
             (SELECT note FROM duty WHERE name = :fill), {" OR ".join(work)}
            """
        )

    def look(self) -> Glance:
        """Look once.

        Raises:
            DatabaseUnreachable: nothing is known.
        """
        with reading(self._engine) as connection:
            row = connection.execute(self._statement, self._names).one()
        now = float(row[0])
        return Glance(now, None if row[1] is None else now - float(row[1]), row[2], row[3], bool(row[4]))
