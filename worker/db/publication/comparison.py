"""The comparison of what Redis has with what SQL takes for published: what it reads and marks, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct, to_builtins
from msgspec.structs import replace
from sqlalchemy import Engine, text

from models.redis_info import RedisInfo
from worker.db.bulk import among_sql, execute, many
from worker.db.engine import reading, writing
from worker.db.publication.store import STATE_UNPUBLISHED

#: The lock of the comparison; its note is the progress.
COMPARISON: Final = "comparison"

#: Why a round began.
ROLLING: Final = "rolling"
TAKEN_OVER: Final = "taken_over"
EVICTED: Final = "evicted"
DELETED: Final = "deleted"
#: The same for a person.
CAUSES: Final = {
    ROLLING: "a key was deleted, or a copy of older data was loaded",
    TAKEN_OVER: "Redis was restarted, or another server took over from it",
    EVICTED: "Redis evicted keys to make room",
    DELETED: "many keys were deleted at once",
}

#: Accounts of a loss that are kept by name.
NAMED_MAX: Final = 20
#: So many keys fewer, beside those whose time was over, are a loss: refreshes and commands delete fewer between two looks. The
#: larger of the two counts.
DELETED_MIN: Final = 2_000
DELETED_SHARE: Final = 1 / 500


class Loss(Struct, frozen=True):
    """What a round found missing in Redis; the next reconcile publishes it again."""

    accounts: int
    why: str
    #: Epoch seconds of the database's clock.
    at: float
    #: Some of the accounts.
    some: tuple[str, ...] = ()


class Round(Struct, frozen=True):
    """A round that reached its end: every account was compared."""

    accounts: int
    missing: int
    #: Epoch seconds.
    ended_at: float
    took_s: float


class Progress(Struct, frozen=True):
    """How far the comparison is, and what it found: kept as JSON in the note of its lock."""

    #: What the Redis that was compared last said of itself.
    server: RedisInfo = RedisInfo()
    #: The last account that was compared; None: no round is under way.
    after: str | None = None
    why: str = ROLLING
    began_at: float = 0.0
    accounts: int = 0
    missing: int = 0
    last: Round | None = None
    loss: Loss | None = None

    @property
    def under_way(self) -> bool:
        return self.after is not None

    @property
    def hasty(self) -> bool:
        """Whether the round under way was begun because something was probably lost."""
        return self.under_way and self.why != ROLLING

    def lost(self, server: RedisInfo) -> str | None:
        """Return why a look at Redis makes a loss probable since the last one; None where it does not."""
        known = self.server
        if server.id != known.id:
            return TAKEN_OVER if known.id else None  # the first look: nothing is known of another one
        if server.evicted > known.evicted:
            return EVICTED
        fewer = known.keys - server.keys - max(0, server.expired - known.expired)
        return DELETED if fewer >= max(DELETED_MIN, known.keys * DELETED_SHARE) else None

    def seen(self, server: RedisInfo, *, now: float) -> Progress:
        """Return the progress after a look at Redis: a loss that is probable begins a round anew.

        During such a round what is lost meanwhile is left to the next one, which begins when it ends: a server that goes on
        evicting would have no account compared but the first.
        """
        why = self.lost(server)
        if why is not None and (why == TAKEN_OVER or not self.hasty):
            return replace(self, server=server).begun(why, now=now)
        if self.hasty:
            return self
        seen = replace(self, server=server)
        return seen if seen.under_way else seen.begun(ROLLING, now=now)

    def begun(self, why: str, *, now: float) -> Progress:
        """Return the progress at the beginning of a round."""
        return replace(self, after="", why=why, began_at=now, accounts=0, missing=0)

    def compared(self, last: str, accounts: int, lost: Sequence[str], *, now: float) -> Progress:
        """Return the progress after a batch.

        Args:
            last: the last account of the batch.
            accounts: how many it had.
            lost: those that Redis lacked.
            now: epoch seconds.
        """
        missing = self.missing + len(lost)
        before = self.loss.some if self.loss is not None and self.missing else ()
        loss = Loss(missing, self.why, now, (*before, *lost)[:NAMED_MAX]) if lost else self.loss
        return replace(self, after=last, accounts=self.accounts + accounts, missing=missing, loss=loss)

    def ended(self, *, now: float) -> Progress:
        """Return the progress after the last batch of a round."""
        done = Round(self.accounts, self.missing, now, now - self.began_at)
        return replace(self, after=None, last=done)

    def to_note(self) -> str:
        return json.dumps(to_builtins(self))

    @classmethod
    def of(cls, note: str | None) -> Progress:
        """Read a note; one that can't be read (another release wrote it) begins anew."""
        try:
            fields: dict[str, Any] = json.loads(note or "{}")
            last, loss = fields.pop("last", None), fields.pop("loss", None)
            return cls(
                server=RedisInfo(**fields.pop("server", {})),
                **fields,
                last=None if last is None else Round(**last),
                loss=None if loss is None else Loss(**{**loss, "some": tuple(loss["some"])}),
            )
        except (ValueError, TypeError, KeyError):
            return cls()


class Published(NamedTuple):
    """What Redis should have of one account."""

    account: str
    generation: int
    issued_at: float | None
    #: End of the token, epoch seconds; None: no end is known.
    expires_at: float | None
    has_token: bool


class ComparisonState(Struct, frozen=True):
    """The progress, and who is at it."""

    progress: Progress
    #: When the last step ended, epoch seconds; None: there was none.
    stepped_at: float | None
    #: Until when a process holds the lock.
    held_until: float


class ComparisonStore:
    """The SQL of the comparison."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def state(self) -> ComparisonState:
        """Return how far the comparison is."""
        with reading(self._engine) as connection:
            row = connection.execute(
                text("SELECT note, finished_at, until FROM duty WHERE name = :name"), {"name": COMPARISON}
            ).first()
        if row is None:
            return ComparisonState(Progress(), None, 0.0)
        return ComparisonState(Progress.of(row[0]), row[1], float(row[2]))

    def published_after(self, account: str, limit: int) -> list[tuple[str, Published | None]]:
        """Return the accounts behind one, by id; None beside one that the database knows Redis to lack."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                text(
                    "SELECT id, generation, published_generation, issued_at, expires_at, "
                    "access_token_sealed IS NOT NULL FROM account WHERE id > :account ORDER BY id LIMIT :limit"
                ),
                {"account": account, "limit": limit},
            ).all()
        return [
            (one[0], Published(one[0], one[1], one[3], one[4], bool(one[5])) if one[2] >= one[1] else None)
            for one in rows
        ]

    def waiting(self, loss: Loss) -> list[str]:
        """Return the accounts, of those of a loss that are kept by name, whose token Redis lacks at this moment."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"SELECT id FROM account WHERE {among_sql(self._engine, 'id', 'ids')} "
                    f"AND published_generation < generation AND published_generation <> {STATE_UNPUBLISHED} ORDER BY id"
                ),
                {"ids": many(self._engine, loss.some)},
            )
            return [str(account) for account in rows.scalars()]

    def mark_lost(self, lost: Sequence[tuple[str, int]]) -> list[str]:
        """Note that Redis lacks these generations; return the accounts that still have them.

        One that was refreshed or removed meanwhile is left alone.
        """
        if not lost:
            return []
        with writing(self._engine) as connection:
            rows = execute(
                connection,
                {"id": "text", "generation": "bigint"},
                """
                UPDATE account SET published_generation = -1 FROM r
                WHERE account.id = r.id AND account.generation = r.generation
                 AND account.published_generation >= r.generation RETURNING account.id
                """,
                [{"id": account, "generation": generation} for account, generation in lost],
            )
        return [str(row[0]) for row in rows]
