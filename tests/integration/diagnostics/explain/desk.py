"""An account's story on real stores, and what `explain` makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import text

from models.tables.attempt import Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.callbacks.catalog import CallbackCatalog
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.cli.explain.text import page
from worker.context import AppContext
from worker.crypto.cipher import generate_key
from worker.db.engine import writing
from worker.diagnostics.explain.facts import Facts
from worker.diagnostics.explain.gather import gather
from worker.diagnostics.explain.rules import diagnose
from worker.diagnostics.explain.words import as_object
from worker.settings import Settings

STANDARD: Mapping[str, Sequence[str]] = {"standard@one": ["control", "refresh", "urgent"]}
ALL: Mapping[str, Sequence[str]] = {**STANDARD, "callback@one": ["callback"]}
#: Far wider than any line: what is searched for stands in one piece.
_WIDE = 10_000


class AccountServices:
    """An account's story, and what `explain` makes of it."""

    def __init__(self, bench: Bench, settings: Settings) -> None:
        self.bench = bench
        self.settings = settings
        self.workers: Mapping[str, Sequence[str]] | None = ALL
        #: What workers answer of their keys; None: none can be asked.
        self.worker_keys: Mapping[str, frozenset[str] | None] | None = None
        #: The last plan ended so long before the page is made.
        self.planned_ago_s = 0.0
        self._offers: dict[str, CallbackCatalog] = {}

    def execute(self, statement: str, **parameters: Any) -> None:
        with writing(self.bench.runtime.engine) as connection:
            connection.execute(text(statement), parameters)

    def good(self, **fields: Any) -> None:
        """Have an account with a good token, stored and published by a refresh."""
        self.bench.add(**fields)
        self.bench.answer = granted
        self.bench.refresh()

    def reported(self, *, times: int, apart_s: float = 30.0, seen: int = 2) -> None:
        """Have a connector report each token, and have time pass in between."""
        for number in range(times):
            self.bench.refresh(seen=seen + number, trigger=Trigger.REPORTED)
            self.execute("UPDATE attempt SET opened_at = opened_at - :s", s=apart_s)
            self.execute("UPDATE account SET issued_at = issued_at - :s", s=apart_s)

    def offer(self, worker: str, *names: str, problems: Mapping[str, str] | None = None) -> None:
        known = {name: {"kind": "python", "where": "here.py:1"} for name in names}
        self._offers[worker] = CallbackCatalog.from_json(
            {"callbacks": known, "problems": dict(problems or {})}
        )

    def beats(self) -> None:
        """Have beat and the callback workers be heard now, however long the story took to stage."""
        self.execute("DELETE FROM duty")
        at = time.time() - self.planned_ago_s
        self.execute("INSERT INTO duty (name, finished_at, until) VALUES ('plan', :at, 0)", at=at)
        for worker, offer in self._offers.items():
            CallbackHeartbeats(self.bench.runtime.redis, self.settings.redis_prefix).announce(worker, offer)

    def gathered(self, settings: Settings | None = None, *, ahead_s: float = 0.0) -> Facts:
        here = AppContext(settings or self.settings)
        try:
            here.engine  # noqa: B018  (sets the clock)
            here.clock.set(time.time() - ahead_s)
            return gather(here, "acct", workers=lambda: self.workers, worker_keys=lambda: self.worker_keys)
        finally:
            here.close()

    def first(self, settings: Settings | None = None, **options: Any) -> tuple[str, str]:
        """Return the first cause, and the page as it is printed."""
        self.beats()
        return self.said(self.gathered(settings, **options))

    def names_first(self, cause: str, words: Sequence[str]) -> None:
        """Have the page begin with a cause, and hold what to do about it."""
        first, shown = self.first()
        assert first == cause, shown
        for part in words:
            assert part in shown, shown

    def said(self, facts: Facts) -> tuple[str, str]:
        findings = diagnose(facts)
        said = as_object(facts, findings)
        console = Console(width=_WIDE, no_color=True)
        with console.capture() as printed:
            console.print(page(facts, findings))
        shown = "\n".join(line.rstrip() for line in printed.get().splitlines())
        assert all(finding["hint"] in shown for finding in said["findings"])
        return said["findings"][0]["cause"] if findings else "", shown


def settings_of(database_url: str, redis_url: str, data_dir: Path, **more: Any) -> Settings:
    """Return settings with a key of their own."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=data_dir,
        **more,
    )


def changed(settings: Settings, update: dict[str, Any]) -> Settings:
    """Return other settings: a copy would keep what was derived from the old ones."""
    return Settings(**(settings.model_dump() | update))


def answer(status: int, body: Any = None, **more: Any) -> Callable[[httpx.Request], httpx.Response]:
    content = {"text": body} if isinstance(body, str) else {"json": body}
    return lambda _: httpx.Response(status, **content, **more)
