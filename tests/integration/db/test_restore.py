"""A database that was restored from a backup is behind Redis."""

from __future__ import annotations

import httpx
from structlog.testing import capture_logs

from models.tables.attempt import Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_late_answers import refused, sealed_answer
from tests.integration.refresh.test_refresher import granted
from worker.db.accounts.stored import Accounts
from worker.db.repair.restore import believe_filled, raise_above, raise_generations
from worker.policy.reasons.done import STASH_ADOPTED


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
    believe_filled(bench.runtime.engine, redis, keys)
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


def redis_is_ahead(bench: Bench, generation: int = 9) -> None:
    """Have Redis hold what was published before a backup was restored that knows nothing of it."""
    redis, keys = bench.runtime.redis, bench.runtime.keys
    redis.hset(keys.account("acct"), mapping={"status": "active", "generation": generation})
    redis.hset(keys.token("acct"), mapping={"access_token": "before", "generation": generation})


def test_where_nobody_said_so_a_refreshed_token_is_published_all_the_same_and_the_log_says_it(
    bench: Bench,
) -> None:
    """It was counted as published, and readers never saw it."""
    bench.add(generation=3, published_generation=3)
    redis_is_ahead(bench)
    bench.answer = granted

    with capture_logs() as logs:
        bench.refresh(seen=3)
    bench.runtime.run(bench.runtime.committer.drain())

    token, state, row = bench.token(), bench.state(), bench.account()
    assert token is not None
    assert state is not None
    assert (token.access_token, token.generation, state.generation) == ("new-access", 10, 10)
    assert (row.generation, row.published_generation) == (10, 10)
    (said,) = (line for line in logs if line["event"] == "database_older_than_redis")
    assert (said["log_level"], said["account"], said["redis_generation"]) == ("error", "acct", 9)
    assert "`refreshd db restored`" in said["remedy"]
    bench.refresh(seen=10, trigger=Trigger.FORCED)
    later = bench.token()
    assert later is not None
    assert later.generation == 11


def test_a_failure_after_it_is_told_to_readers_and_the_token_before_stays(bench: Bench) -> None:
    bench.add(generation=3, published_generation=3)
    redis_is_ahead(bench)
    bench.answer = lambda _: httpx.Response(400, json={"error": "invalid_grant"})

    believe_filled(bench.runtime.engine, bench.runtime.redis, bench.runtime.keys)
    bench.refresh(seen=3)
    bench.runtime.run(bench.runtime.reconciler.reconcile())

    token, state = bench.token(), bench.state()
    assert token is not None
    assert state is not None
    assert (token.access_token, token.generation) == ("before", 9)
    assert (state.status, state.generation) == ("reauthorize", 10)


def test_a_row_that_has_moved_on_is_not_raised(bench: Bench) -> None:
    """Two answers of one account, published in the other order: nothing is wrong."""
    bench.add(generation=4)
    bench.add("held", generation=4, claim_attempt="a", claim_until=9e9)
    refused = [("acct", 3, 9), ("held", 4, 9), ("gone", 4, 9)]
    assert raise_above(bench.runtime.engine, refused) == {}
    assert bench.account().generation == 4
