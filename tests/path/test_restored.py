"""A database that was restored from a backup is behind Redis."""

from __future__ import annotations

from tests.path.conftest import Bench
from tests.path.test_refresh import granted
from worker.io.restored import believe_filled, raise_generations


def test_nothing_newer_in_redis_is_overwritten_and_the_next_refresh_is_published(bench: Bench) -> None:
    bench.add("behind", generation=3, published_generation=3)
    bench.add("level", generation=5, published_generation=5)
    redis, keys = bench.runtime.redis, bench.runtime.keys
    for account, generation in (("behind", 9), ("level", 5), ("unknown", 4)):
        redis.hset(keys.account(account), mapping={"status": "active", "generation": generation})
    redis.hset(keys.token("behind"), mapping={"access_token": "newer", "generation": 9})

    assert raise_generations(bench.runtime.engine, redis, keys) == 1
    assert raise_generations(bench.runtime.engine, redis, keys) == 0

    assert (bench.account("behind").generation, bench.account("level").generation) == (10, 5)
    believe_filled(bench.runtime.schedule, redis, keys)
    bench.runtime.run(bench.runtime.reconciler.reconcile())
    bench.answer = granted
    before = bench.token("behind")
    bench.refresh("behind", seen=10)
    after = bench.token("behind")
    assert before is not None
    assert (before.access_token, before.generation) == ("newer", 9)
    assert after is not None
    assert (after.access_token, after.generation) == ("new-access", 11)
