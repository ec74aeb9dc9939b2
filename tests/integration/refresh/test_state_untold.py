"""Whatever is said of an account after its commit: the row says that Redis lacks it until Redis has it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx
import pytest
from redis.exceptions import RedisError
from sqlalchemy import text

from models.pause_scope import Scope
from models.publication import Publication
from models.tables.audit import Actor
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.db.engine import writing
from worker.db.publication.store import STATE_UNPUBLISHED
from worker.errors import RedisUnreachable


def filled(bench: Bench) -> None:
    """Have Redis be one that was filled before: what it lacks from now on is what the rows say."""
    bench.runtime.run(bench.runtime.reconciler.reconcile())


def refused(bench: Bench) -> None:
    bench.add()
    filled(bench)
    bench.answer = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    bench.refresh()


def waits_in_vain(bench: Bench) -> None:
    bench.add("first")
    bench.add(expires_at=bench.runtime.clock.now() - 5)
    filled(bench)
    bench.answer = lambda _: httpx.Response(429, headers={"Retry-After": "60"})
    bench.refresh("first")
    bench.refresh()


def is_paused(bench: Bench) -> None:
    bench.add(expires_at=bench.runtime.clock.now() - 5)
    filled(bench)
    bench.runtime.pauses.pause(Scope.PROVIDER, ["acme"], for_s=None, reason="", actor=Actor("mia", "desk-1"))
    bench.runtime.run(bench.runtime.reconciler.reconcile())


STORIES = {"reauthorize": refused, "degraded": waits_in_vain, "degraded (paused)": is_paused}


@pytest.mark.parametrize("status", STORIES)
def test_a_status_that_redis_was_not_told_is_told_by_the_next_reconcile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """The process ends between the commit and the publication: nothing is noted after it, either."""
    put = bench.runtime.publisher.put

    async def of_the_others(publications: Sequence[Publication], *rest: Any, **more: Any) -> Any:
        if any(one.account == "acct" and one.state.status != "active" for one in publications):
            raise RedisError("gone")
        return await put(publications, *rest, **more)

    monkeypatch.setattr(bench.runtime.publisher, "put", of_the_others)
    forgets(bench, monkeypatch)
    with suppress(RedisUnreachable):  # what the task would be told
        STORIES[status](bench)
    before = bench.state()
    monkeypatch.undo()

    assert bench.runtime.run(bench.runtime.reconciler.needed())
    bench.runtime.run(bench.runtime.reconciler.reconcile())

    after = bench.state()
    assert before is None or before.status == "active"
    assert after is not None
    assert after.status == bench.account().status == status.partition(" ")[0]
    assert not bench.runtime.run(bench.runtime.reconciler.needed())


def forgets(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process note nothing of what it could not publish."""
    committer: Any = bench.runtime.committer
    take = committer._take_updates

    def none_of_those() -> Any:
        committer._unpublished = []
        return take()

    monkeypatch.setattr(committer, "_take_updates", none_of_those)


def test_a_state_is_told_where_the_token_does_not_open(bench: Bench) -> None:
    """Its key is gone: that is what is to be told, and the token is there already."""
    bench.add(published_generation=1, access_token_sealed="v1.gone.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    filled(bench)
    bench.refresh()

    assert bench.account().status == "misconfigured"
    bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert not bench.runtime.run(bench.runtime.reconciler.needed())


def test_a_token_that_comes_while_a_state_is_untold_is_not_taken_for_published(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(published_generation=STATE_UNPUBLISHED)
    filled(bench)
    with writing(bench.runtime.engine) as connection:
        connection.execute(
            text("UPDATE account SET published_generation = :untold"), {"untold": STATE_UNPUBLISHED}
        )

    async def away(*_: Any, **__: Any) -> None:
        raise RedisError("gone")

    monkeypatch.setattr(bench.runtime.publisher, "put", away)
    bench.answer = granted
    bench.refresh()
    bench.runtime.run(bench.runtime.committer.drain())
    monkeypatch.undo()
    bench.runtime.run(bench.runtime.reconciler.reconcile())

    token = bench.token()
    assert token is not None
    assert (token.access_token, bench.account().published_generation) == ("new-access", 2)
