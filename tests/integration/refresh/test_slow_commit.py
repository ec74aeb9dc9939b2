"""A commit that does not end: a pooler has it wait for a database that is away, and refuses nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from tests.support.waiting import wait_until
from worker.policy.reasons.waiting import ANSWER_STASHED
from worker.refresh import committer


def test_its_answers_are_put_aside_and_it_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "COMMIT_PATIENCE_S", 0.05)
    bench.add()
    bench.answer = granted
    store, goes_on = bench.runtime.store, asyncio.Event()
    close = store.close

    async def waits(*arguments: Any) -> Any:
        await goes_on.wait()
        return await close(*arguments)

    monkeypatch.setattr(store, "close", waits)
    stash = bench.runtime.keys.stash("acct")

    result = bench.refresh()["acct"]

    assert result.reason == ANSWER_STASHED
    assert bench.runtime.redis.exists(stash)
    assert bench.account().generation == 1
    bench.runtime.loop.call_soon_threadsafe(goes_on.set)
    wait_until(lambda: bench.account().generation == 2, "the commit")
    bench.runtime.run(bench.runtime.committer.drain())
    token = bench.token()
    assert token is not None
    assert token.generation == 2
    assert not bench.runtime.redis.exists(stash)
