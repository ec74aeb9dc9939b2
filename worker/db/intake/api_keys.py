"""The SQL of the run-time API's keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Engine, text
from sqlmodel import Session, col, select

from models.label import write_labels
from models.tables.api_key import ApiKey, Credential, hash_of, write_scopes
from models.tables.audit import Act, Action, Actor
from worker.db.engine import now_sql, reading, writing
from worker.db.records.acts import record
from worker.errors import InputError


class ApiKeys:
    """The table of keys."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = now_sql(engine)

    def create(
        self,
        name: str,
        *,
        scopes: Collection[str],
        labels: Mapping[str, str],
        expires_s: float | None,
        actor: Actor,
    ) -> tuple[ApiKey, Credential]:
        """Store a new key; return it, and the credential that is shown once.

        Raises:
            InputError: the name is taken, be it by a key that was revoked: the audit trail has it.
        """
        made = Credential.make()
        detail = {"scopes": sorted(scopes), "labels": dict(labels), "id": made.id, "name": name}
        with writing(self._engine) as connection:
            taken = connection.execute(
                text(
                    f"""
                    INSERT INTO api_key (id, name, secret_hash, scopes, labels, created_at, expires_at)
                    VALUES (:id, :name, :secret_hash, :scopes, :labels, {self._now},
                     {self._now} + CAST(:expires_s AS double precision))
                    ON CONFLICT (name) DO NOTHING
                    """
                ),
                {
                    "id": made.id,
                    "name": name,
                    "secret_hash": hash_of(made.secret),
                    "scopes": write_scopes(scopes),
                    "labels": write_labels(labels),
                    "expires_s": expires_s,
                },
            ).rowcount
            if not taken:
                raise InputError(
                    "NAME", f"a key {name!r} exists (or was revoked); expected a name of its own"
                )
            record(connection, actor, [Act(Action.API_KEY_CREATE, detail=detail)])
        found = self.find(made.id)
        assert found is not None  # noqa: S101  (it was stored a moment ago)
        return found, made

    def find(self, key_id: str) -> ApiKey | None:
        """Return a key by its id, whether it is valid or not."""
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return session.get(ApiKey, key_id)

    def all(self) -> list[ApiKey]:
        """Return every key, in the order in which they were made."""
        statement = select(ApiKey).order_by(col(ApiKey.created_at), col(ApiKey.id))
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return list(session.exec(statement))

    def revoke(self, word: str, *, actor: Actor) -> ApiKey | None:
        """Revoke the key of this name or id; return it as it was, None where there is none."""
        statement = select(ApiKey).where((col(ApiKey.name) == word) | (col(ApiKey.id) == word))
        with writing(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            found = session.exec(statement).first()
            if found is not None and found.revoked_at is None:
                connection.execute(
                    text(f"UPDATE api_key SET revoked_at = {self._now} WHERE id = :id"), {"id": found.id}
                )
                detail = {"id": found.id, "name": found.name}
                record(connection, actor, [Act(Action.API_KEY_REVOKE, detail=detail)])
        return found

    def note_use(self, key_id: str) -> None:
        """Note that a key is used now."""
        with writing(self._engine) as connection:
            connection.execute(
                text(f"UPDATE api_key SET used_at = {self._now} WHERE id = :id"), {"id": key_id}
            )
