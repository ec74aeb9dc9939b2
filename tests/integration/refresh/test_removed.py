"""An account that is removed while something of it is on its way to Redis stays removed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from models.publication import Publication
from tests.integration.conftest import Bench, Handler
from tests.integration.refresh.test_refresher import granted
from worker.accounts.publisher import CommandPublisher
from worker.db.accounts.stored import Accounts
from worker.redis.publisher import REMOVED_KEPT_S


def remove(bench: Bench) -> dict[str, int]:
    """Remove the account as the command does, from a thread that has no event loop."""
    here = bench.runtime
    gone: dict[str, int] = {}

    def command() -> None:
        gone.update(Accounts(here.engine).remove(["acct"]))
        with CommandPublisher(
            redis_url=lambda: here.settings.redis, keys=here.keys, store=here.publication_store
        ) as publisher:
            publisher.drop(gone)

    thread = threading.Thread(target=command)
    thread.start()
    thread.join()
    return gone


def left(bench: Bench) -> list[str]:
    """Name what Redis has of the account."""
    return sorted(str(key) for key in bench.runtime.redis.scan_iter("refreshd:*{acct}*"))


def before_it_is_published(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Have the account removed once its next publication is made, and is not sent yet."""
    put, gone = bench.runtime.publisher.put, dict[str, int]()

    async def late(publications: Sequence[Publication], *rest: Any, **more: Any) -> Any:
        gone.update(remove(bench))
        monkeypatch.undo()
        return await put(publications, *rest, **more)

    monkeypatch.setattr(bench.runtime.publisher, "put", late)
    return gone


@pytest.mark.parametrize("answer", [granted, lambda _: httpx.Response(503)], ids=["a token", "a state"])
def test_what_a_refresh_had_stored_does_not_come_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, answer: Handler
) -> None:
    bench.add()
    bench.answer = answer
    before_it_is_published(bench, monkeypatch)

    bench.refresh()

    assert left(bench) == ["refreshd:removed:{acct}"]
    assert 0 < bench.runtime.redis.ttl("refreshd:removed:{acct}") <= REMOVED_KEPT_S


def test_what_a_filling_of_redis_had_read_does_not_come_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add()
    before_it_is_published(bench, monkeypatch)

    bench.runtime.run(bench.runtime.reconciler.reconcile())

    assert left(bench) == ["refreshd:removed:{acct}"]


def test_an_id_that_is_added_again_is_published(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add()
    bench.answer = granted
    gone = before_it_is_published(bench, monkeypatch)
    bench.refresh()
    assert gone == {"acct": 3}

    bench.add(generation=3, published_generation=-1)
    bench.runtime.run(bench.runtime.reconciler.reconcile())
    added = bench.token()
    bench.refresh(seen=3)
    refreshed = bench.token()

    assert added is not None
    assert (added.access_token, added.generation) == ("old-access", 3)
    assert refreshed is not None
    assert (refreshed.access_token, refreshed.generation) == ("new-access", 4)
