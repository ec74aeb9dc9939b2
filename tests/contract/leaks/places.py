"""Everything that is kept or shown, as text: every key of Redis, every column of every table, every page of Flower."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

import httpx
import redis
from sqlalchemy import Engine, inspect

Place = tuple[str, str]

_READERS: Final[dict[str, Callable[[redis.Redis, str], Any]]] = {
    "string": lambda client, key: client.get(key),
    "hash": lambda client, key: client.hgetall(key),
    "list": lambda client, key: client.lrange(key, 0, -1),
    "set": lambda client, key: client.smembers(key),
    "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
    "stream": lambda client, key: client.xrange(key),
}


def redis_keys(url: str) -> Iterator[Place]:
    """Return every key of a Redis database with all that it holds."""
    client = redis.Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape")
    try:
        for key in client.scan_iter(count=1000):
            kind = str(client.type(key))
            if kind != "none":  # it ended meanwhile
                yield f"Redis {kind} {key}", f"{key} {_READERS[kind](client, key)!r}"
    finally:
        client.close()


def table_columns(engine: Engine) -> Iterator[Place]:
    """Return every value of every table."""
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            # As it is stored, whatever type the models give it.
            for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"').mappings():  # noqa: S608
                for column, value in row.items():
                    yield f"SQL {table}.{column}", _text(value)


def flower_answers(pages: httpx.Client) -> Iterator[Place]:
    """Return every page of Flower and every answer of its API that reads."""
    paths = [
        *(
            "/",
            "/workers",
            "/workers?json=1",
            "/workers?refresh=1",
            "/tasks",
            "/broker",
            "/not-there",
            "/logout",
        ),
        *("/api/workers?refresh=1&status=0", "/api/tasks", "/api/task/types", "/api/queues/length"),
        *("/metrics", "/healthcheck", "/task/not-there", _every_row()),
    ]
    for path in paths:
        yield f"Flower {path}", pages.get(path).text
    for worker in pages.get("/workers?json=1").json()["data"]:
        path = f"/worker/{quote(worker['hostname'])}"
        yield f"Flower {path}", pages.get(path).text
    for task in pages.get("/api/tasks").json():
        for path in (f"/task/{task}", f"/api/task/info/{task}", f"/api/task/result/{task}"):
            yield f"Flower {path}", pages.get(path).text


def _every_row() -> str:
    return (
        "/tasks/datatable?draw=1&start=0&length=10000&search[value]=&order[0][column]=0&order[0][dir]=asc"
        "&columns[0][data]=received"
    )


def _text(value: object) -> str:
    if isinstance(value, (bytes, memoryview)):
        return f"{bytes(value).decode('latin-1')} {bytes(value).hex()}"
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), str(value))
