"""A removal that is asked for again: Redis was away when it was to be told of the first one."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.integration.intake.conftest import Asker
from worker.intake.requests import Code, Op
from worker.redis.publisher import TokenPublisher


def test_a_removal_that_redis_was_not_told_of_is_told_by_the_next_one(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = asker.bench
    bench.add(expires_at=bench.runtime.clock.now() + 3000)
    bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert bench.token() is not None

    async def away(*_: Any) -> None:
        raise RedisConnectionError("Redis fails over")

    with monkeypatch.context() as patched:
        patched.setattr(TokenPublisher, "drop", away)
        reply = asker.ask(Op.REMOVE_ACCOUNT, account="acct")
        assert reply.code is Code.UNAVAILABLE
        assert "ask for the removal again once it is back" in (reply.detail or "")
    assert bench.token() is not None

    assert asker.ask(Op.REMOVE_ACCOUNT, account="acct").code is Code.NOT_FOUND
    assert bench.token() is None
