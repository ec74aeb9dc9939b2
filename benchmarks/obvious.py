"""The obvious way: one account a task, Authlib's client, a Redis lock, the row written with SQLModel.

    celery -A benchmarks.obvious worker -P prefork -c 8

It is kept simple but not slow on purpose: engine and Redis client live as long as their process, the database
is set up as refreshd sets up its own, and nothing is sealed, recorded or published, which refreshd all does.
"""

from __future__ import annotations

import os
import sqlite3
import time
from functools import cache
from typing import Any, Final

import redis
from authlib.integrations.requests_client import OAuth2Session
from celery import Celery
from sqlalchemy import Engine, create_engine, event
from sqlmodel import Field, Session, SQLModel

#: Longer than the call may take.
LOCK_S: Final = 60
CALL_TIMEOUT_S: Final = 30

app = Celery("obvious", broker=os.environ.get("BENCH_REDIS_URL"))
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


class Grant(SQLModel, table=True):
    """An account as one would write it down first."""

    __tablename__ = "obvious_grant"

    id: str = Field(primary_key=True)
    token_url: str
    client_id: str
    client_secret: str
    access_token: str | None = None
    refresh_token: str
    expires_at: float | None = None
    refreshes: int = 0


@app.task(name="obvious.refresh")
def refresh(account: str) -> None:
    """Refresh one account under its lock, and store what came back."""
    with redis_client().lock(f"lock:{account}", timeout=LOCK_S), Session(engine()) as session:
        grant = session.get_one(Grant, account)
        client: Any = OAuth2Session(  # type: ignore[no-untyped-call]  # Authlib has no types
            client_id=grant.client_id,
            client_secret=grant.client_secret,
            token_endpoint_auth_method="client_secret_post",
        )
        with client:
            token = client.refresh_token(
                grant.token_url, refresh_token=grant.refresh_token, timeout=CALL_TIMEOUT_S
            )
        grant.access_token = token["access_token"]
        grant.refresh_token = token["refresh_token"]
        grant.expires_at = time.time() + token["expires_in"]
        grant.refreshes += 1
        session.commit()


@cache
def redis_client() -> redis.Redis:
    return redis.Redis.from_url(os.environ["BENCH_REDIS_URL"])


@cache
def engine() -> Engine:
    """Make the engine of this process, after the fork."""
    return make_engine(os.environ["BENCH_DATABASE_URL"])


def make_engine(url: str) -> Engine:
    """Make an engine; SQLite waits for its turn to write, and is as durable as refreshd's."""
    if not url.startswith("sqlite"):
        return create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    made = create_engine(url, connect_args={"timeout": CALL_TIMEOUT_S})

    @event.listens_for(made, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    return made
