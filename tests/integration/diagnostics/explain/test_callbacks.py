"""`explain` where a callback refreshes: who knows it, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.tables.attempt import Trigger
from tests.integration.callbacks.conftest import WILD, module_path  # noqa: F401
from tests.integration.conftest import Bench
from tests.integration.diagnostics.explain.desk import ALL, STANDARD, AccountServices, settings_of
from worker.settings import Settings


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return settings_of(sqlite_url, redis_url, tmp_path, callback_modules=(WILD,))


@pytest.fixture
def wild(settings: Settings, module_path: Any) -> Iterator[AccountServices]:  # noqa: ARG001, F811
    """Return a desk whose worker runs callbacks, and says so."""
    made = Bench(settings, runs_callbacks=True)
    desk = AccountServices(made, settings)
    desk.offer("callback@one", "rotates", "keeps", "raises", "sleeps", "refuses", "gives-back")
    yield desk
    made.runtime.close()


def callback_unknown(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="rotate")


def callback_broken(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="acme")
    desk.offer(
        "callback@one", "keeps", problems={"acme_callback": "SyntaxError: '(' was never closed (acme.py:3)"}
    )


def callback_elsewhere(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="acme")
    desk.offer("other@two", "acme")


def callback_on_one_of_two(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="acme")
    desk.workers = {**ALL, "other@two": ["callback"]}
    desk.offer("other@two", "acme")


def callback_hangs(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="sleeps")
    desk.bench.refresh()


def callback_fails(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="raises")
    desk.bench.refresh()


def callback_refuses(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="refuses", generation=5)
    desk.bench.refresh(seen=5)


def callback_returns_a_useless_token(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="keeps")
    desk.bench.refresh()
    desk.reported(times=4)


def callback_gives_back_what_it_was_given(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="gives-back")
    desk.bench.refresh()
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def callback_not_used(desk: AccountServices) -> None:
    desk.bench.add(callback="keeps", expires_at=time.time() - 3600)


CALLBACKS: dict[str, tuple[Callable[[AccountServices], None], list[str]]] = {
    "callback_not_registered": (callback_unknown, ["The nearest is 'rotates'", "`refreshd callbacks list`"]),
    "callback_not_registered (broken)": (callback_broken, ["'(' was never closed (acme.py:3)", "Mend that module"]),
    "callback_registered_elsewhere": (callback_elsewhere, ["known to other@two only", "REFRESHD_CALLBACK_MODULES"]),
    "callback_registered_elsewhere (too)": (callback_on_one_of_two, ["but callback@one takes from `callback`, too: what"]),
    "callback_hanging": (callback_hangs, ["does not come to an end", "callbacks test sleeps --account acct`"]),
    "callback_failing": (callback_fails, ["it raised RuntimeError", "`refreshd callbacks test raises --account acct`"]),
    "grant_revoked": (callback_refuses, ["'refuses' returned an errorResponse", '"the user revoked it"']),
    "api_rejects_fresh_tokens": (callback_returns_a_useless_token, ["callbacks test keeps --account acct`: is it"]),
    "callback_returns_the_same_token": (callback_gives_back_what_it_was_given, ["2 times in a row", "keeps in a variable"]),
    "callback_not_used": (callback_not_used, ["the callback never runs", "edit acct refresh_method=callback`"]),
}  # fmt: skip


@pytest.mark.parametrize("cause", CALLBACKS)
def test_a_callback_that_is_the_cause_is_named_first(cause: str, wild: AccountServices) -> None:
    stage, words = CALLBACKS[cause]
    stage(wild)

    wild.names_first(cause.partition(" ")[0], words)


def test_it_ran_by_hand_the_api_says_403_and_the_history_is_empty(desk: AccountServices) -> None:
    """The question that nobody ever answered."""
    desk.bench.add(refresh_method="callback", callback="acme", expires_at=time.time() - 7200)
    desk.workers = STANDARD

    first, shown = desk.first()

    assert first == "no_worker_on_queue"
    assert "Ended 2h ago" in shown
    assert "Nothing: no refresh was tried yet." in shown
    assert "No worker takes from the queue `callback`, so nothing of this account is ever run." in shown
