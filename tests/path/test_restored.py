"""A database that was restored from a backup is behind Redis."""

from __future__ import annotations

from tests.path.conftest import Bench
from tests.path.test_late_answers import refused, sealed_answer
from tests.path.test_refresh import granted
from worker.closing import STASH_ADOPTED
from worker.io.accounts import Accounts
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


def test_an_answer_that_waits_in_redis_is_adopted_and_no_spent_token_is_sent(bench: Bench) -> None:
    """The database died with answers stashed; its backup's refresh tokens were spent long ago."""
    bench.add(generation=3, published_generation=3)
    redis, keys = bench.runtime.redis, bench.runtime.keys
    redis.hset(keys.account("acct"), mapping={"status": "active", "generation": 9})
    redis.set(keys.stash("acct"), sealed_answer(bench, "live", follows=9))
    bench.answer = refused

    assert raise_generations(bench.runtime.engine, redis, keys) == 1
    row = bench.account()
    result = bench.refresh(seen=row.generation)["acct"]

    assert (row.generation, row.published_generation) == (9, 9)
    assert (result.reason, result.generation, bench.requests) == (STASH_ADOPTED, 10, [])
    assert bench.refresh_token() == "live"
    token = bench.token()
    assert token is not None
    assert (token.access_token, token.generation) == ("late-access", 10)


def test_an_id_that_the_backup_lacks_goes_on_above_redis_when_it_is_added_again(bench: Bench) -> None:
    """Added after the backup was made: at generation 1 its readers would get nothing for 300 refreshes."""
    redis, keys, engine = bench.runtime.redis, bench.runtime.keys, bench.runtime.engine
    accounts = Accounts(engine)
    bench.add("removed", generation=400)
    accounts.remove(["removed"])
    for account, generation in (("lost", 300), ("removed", 300), ("no id", 300)):
        redis.hset(keys.account(account), mapping={"status": "active", "generation": generation})

    assert raise_generations(engine, redis, keys) == 0
    assert raise_generations(engine, redis, keys) == 0

    retired = accounts.retired(["lost", "removed", "no id"])
    assert retired == {"lost": 301, "removed": 401}
    bench.add("lost", generation=retired["lost"])
    bench.answer = granted
    bench.refresh("lost", seen=301)
    token = bench.token("lost")
    assert token is not None
    assert (token.access_token, token.generation) == ("new-access", 302)
