"""The SQL of pauses: what is paused, and how accounts come back when a pause is over.

An account that is due while it is paused is set aside once (`plan_at` becomes NULL), and costs no plan anything from
then on. A pause that is over keeps its row until the planner has brought its accounts back, a batch a plan and
soonest due first: whatever is killed in between, the next plan goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, Engine, text

from models.act import Act, Action, Actor
from models.label import label_of
from models.pause_scope import PauseEntry, Scope
from worker.db.bulk import execute
from worker.db.engine import database_now, now_sql, reading, writing
from worker.db.plain_rows import plain_rows
from worker.db.planning import label_pauses
from worker.db.planning.label_pauses import BOOLEANS
from worker.db.records.acts import record

_HAS_LABEL: Final = "id IN (SELECT account_id FROM account_label WHERE account_label.name = :label AND account_label.value = :value)"
#: Pauses of single accounts that one plan ends.
_ACCOUNTS_AT_ONCE: Final = 500


def in_force(now: str) -> str:
    """Return the SQL that tells whether a row of `pause` is in force."""
    return f'(pause."until" IS NULL OR pause."until" > {now})'


def is_paused(now: str) -> str:
    """Return the SQL that tells whether a row of `account` is paused: looks into a small table, by its key."""
    names = {"all": "''", "provider": "account.provider", "account": "account.id"}
    held = (
        f"EXISTS (SELECT 1 FROM pause WHERE scope = '{scope}' AND name = {name} AND {in_force(now)})"
        for scope, name in names.items()
    )
    return f"({' OR '.join((*held, label_pauses.is_paused(now)))})"


class Standing(Struct, frozen=True):
    """What a plan has to know of pauses."""

    #: Something is paused, or on its way back.
    anything: bool = False
    everything: bool = False
    #: Providers that are paused.
    providers: frozenset[str] = frozenset()
    #: Pauses are over whose accounts have not all come back.
    ended: bool = False


class Pauses:
    """The table of pauses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = now_sql(engine)

    def standing(self) -> Standing:
        """Look at the whole table at once: it is small, and mostly empty."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    SELECT scope, CASE WHEN scope = 'provider' THEN name ELSE '' END, {in_force(self._now)}, count(*)
                    FROM pause GROUP BY 1, 2, 3 UNION ALL
                    SELECT 'label', '', {label_pauses.in_force(self._now)}, count(*) FROM label_pause GROUP BY 3
                    """
                )
            ).all()
        holding = [row for row in rows if row[2]]
        return Standing(
            anything=bool(rows),
            everything=any(row[0] == Scope.ALL for row in holding),
            providers=frozenset(str(row[1]) for row in holding if row[0] == Scope.PROVIDER),
            ended=len(holding) < len(rows),
        )

    def all(self, *, limit: int = 10_000) -> list[PauseEntry]:
        """Return the pauses in force, the widest and oldest first."""
        order = list(Scope)
        sql = f"SELECT * FROM pause WHERE {in_force(self._now)} ORDER BY paused_at LIMIT :limit"
        with reading(self._engine) as connection:
            found = plain_rows(connection, PauseEntry, sql, {"limit": limit}, booleans=BOOLEANS)
            found += label_pauses.found(connection, self._now, limit=limit)
        return sorted(found, key=lambda one: order.index(Scope(one.scope)))

    def of(self, account_id: str, provider: str) -> list[PauseEntry]:
        """Return the pauses that hold an account, the widest first."""
        names = {Scope.ALL: "", Scope.PROVIDER: provider, Scope.ACCOUNT: account_id}
        keys = " OR ".join(f"(scope = '{scope.value}' AND name = :{scope.value})" for scope in names)
        sql = f"SELECT * FROM pause WHERE ({keys}) AND {in_force(self._now)}"
        values = {scope.value: name for scope, name in names.items()}
        with reading(self._engine) as connection:
            found = plain_rows(connection, PauseEntry, sql, values, booleans=BOOLEANS)
            found += label_pauses.of(connection, account_id, self._now)
        return sorted(found, key=lambda one: list(Scope).index(Scope(one.scope)))

    def pause(
        self, scope: Scope, names: Sequence[str], *, for_s: float | None, reason: str, actor: Actor
    ) -> dict[str, bool]:
        """Pause; returns for each name whether it was not paused before. One that is keeps its beginning.

        Args:
            scope: what the names are of.
            names: providers, ids of accounts, labels (NAME=VALUE), or one empty text for everything.
            for_s: seconds after which it ends by itself; None: when a person ends it.
            reason: why, in a person's words.
            actor: who.
        """
        with writing(self._engine) as connection:
            now = database_now(connection)
            until = None if for_s is None else now + for_s
            rows = (
                label_pauses.begin(connection, names, now=now, until=until, reason=reason, actor=actor)
                if scope is Scope.LABEL
                else self._begin(connection, scope, names, now=now, until=until, reason=reason, actor=actor)
            )
            detail = {"scope": scope.value, "reason": reason, "for_s": for_s}
            record(connection, actor, [_act(Action.PAUSE, scope, name, detail) for name in names])
        return {str(name): float(paused_at) == now for name, paused_at in rows}

    def _begin(
        self,
        connection: Connection,
        scope: Scope,
        names: Sequence[str],
        *,
        now: float,
        until: float | None,
        reason: str,
        actor: Actor,
    ) -> list[tuple[Any, ...]]:
        return execute(
            connection,
            {"name": "text"},
            f"""
                INSERT INTO pause (scope, name, paused_at, "until", actor, host, reason, resumed)
                SELECT :scope, r.name, :now, CAST(:until AS double precision), :actor, :host, :reason, false FROM r WHERE true
                ON CONFLICT (scope, name) DO UPDATE SET "until" = excluded."until", reason = excluded.reason,
                 actor = excluded.actor, host = excluded.host, resumed = false,
                 paused_at = CASE WHEN {in_force(":now")} THEN pause.paused_at ELSE excluded.paused_at END
                RETURNING name, paused_at
                """,
            [{"name": name} for name in names],
            scope=scope.value,
            now=now,
            until=until,
            actor=actor.name,
            host=actor.host,
            reason=reason,
        )

    def resume(self, scope: Scope, names: Sequence[str], *, actor: Actor) -> set[str]:
        """End pauses; returns the names that were paused. Their accounts come back with the next plans."""
        with writing(self._engine) as connection:
            rows = (
                label_pauses.end(connection, names, self._now)
                if scope is Scope.LABEL
                else self._end(connection, scope, names)
            )
            ended = {str(row[0]) for row in rows}
            detail = {"scope": scope.value}
            record(connection, actor, [_act(Action.RESUME, scope, name, detail) for name in sorted(ended)])
        return ended

    def _end(self, connection: Connection, scope: Scope, names: Sequence[str]) -> list[tuple[Any, ...]]:
        return execute(
            connection,
            {"name": "text"},
            f"""
            UPDATE pause SET "until" = {self._now}, resumed = true FROM r
            WHERE pause.scope = :scope AND pause.name = r.name AND {in_force(self._now)} RETURNING pause.name
            """,
            [{"name": name} for name in names],
            scope=scope.value,
        )

    def bring_back(self, limit: int, *, actor: Actor) -> int:
        """Have accounts planned again whose pause is over, soonest due first; returns how many came back.

        A pause's row goes with the last of its accounts.
        """
        sql = f"SELECT * FROM pause WHERE NOT {in_force(self._now)}"
        with reading(self._engine) as connection:
            ended = plain_rows(connection, PauseEntry, sql, booleans=BOOLEANS)
            ended += label_pauses.found(connection, self._now, over=True)
        count = 0
        for pause in (one for one in ended if one.scope != Scope.ACCOUNT):
            if count >= limit:
                return count
            with writing(self._engine) as connection:
                back = 0
                if pause.scope == Scope.PROVIDER:
                    back = self._back(connection, "provider = :name", limit - count, name=pause.name)
                elif pause.scope == Scope.LABEL:
                    label, value = label_of(pause.name)
                    back = self._back(connection, _HAS_LABEL, limit - count, label=label, value=value)
                if back < limit - count:
                    self._forget(connection, [pause], actor)
            count += back
        single = [one for one in ended if one.scope == Scope.ACCOUNT][:_ACCOUNTS_AT_ONCE]
        if single:
            with writing(self._engine) as connection:
                count += self._back_one_by_one(connection, [one.name for one in single])
                self._forget(connection, single, actor)
        return count

    def bring_back_stray(self, limit: int) -> int:
        """Have accounts planned again that are set aside and that nothing holds: a plan and an end crossed."""
        with writing(self._engine) as connection:
            return self._back(connection, "true", limit)

    def _back(self, connection: Connection, which: str, limit: int, **parameters: str) -> int:
        # Each is due since it was set aside or not yet: either way the plan takes the soonest first.
        return connection.execute(
            text(
                f"""
                UPDATE account SET plan_at = next_refresh_at WHERE id IN (
                  SELECT id FROM account WHERE plan_at IS NULL AND next_refresh_at IS NOT NULL AND {which}
                   AND NOT {is_paused(self._now)} ORDER BY next_refresh_at LIMIT :limit)
                """
            ),
            {"limit": limit, **parameters},
        ).rowcount

    def _back_one_by_one(self, connection: Connection, ids: Sequence[str]) -> int:
        rows = execute(
            connection,
            {"id": "text"},
            f"""
            UPDATE account SET plan_at = next_refresh_at FROM r WHERE account.id = r.id
             AND account.plan_at IS NULL AND account.next_refresh_at IS NOT NULL
             AND NOT {is_paused(self._now)} RETURNING account.id
            """,
            [{"id": account_id} for account_id in sorted(ids)],
        )
        return len(rows)

    def _forget(self, connection: Connection, pauses: Sequence[PauseEntry], actor: Actor) -> None:
        labels = [one.name for one in pauses if one.scope == Scope.LABEL]
        gone = execute(
            connection,
            {"scope": "text", "name": "text"},
            f"""
            DELETE FROM pause WHERE EXISTS (SELECT 1 FROM r WHERE r.scope = pause.scope AND r.name = pause.name)
             AND NOT {in_force(self._now)} RETURNING scope, name, resumed
            """,
            [{"scope": one.scope, "name": one.name} for one in pauses if one.scope != Scope.LABEL],
        )
        gone += [(Scope.LABEL, *one) for one in label_pauses.forget(connection, labels, self._now)]
        by_itself = [(Scope(scope), str(name)) for scope, name, resumed in gone if not resumed]
        record(
            connection,
            actor,
            [
                _act(Action.RESUME, scope, name, {"scope": scope.value, "reason": "its time was over"})
                for scope, name in by_itself
            ],
        )


def _act(action: Action, scope: Scope, name: str, detail: Mapping[str, object]) -> Act:
    detail = {**detail, "label": name if scope is Scope.LABEL else None}
    return Act(
        action,
        account=name if scope is Scope.ACCOUNT else None,
        provider=name if scope is Scope.PROVIDER else None,
        detail={key: value for key, value in detail.items() if value not in (None, "")},
    )
