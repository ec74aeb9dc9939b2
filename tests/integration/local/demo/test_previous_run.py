"""A Redis that is set and had a demo before: only what demos left is removed, and never among other data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from refreshd_reader.contract import Keys
from worker.crypto.cipher import generate_key
from worker.local.demo.accounts import DEMO_ID, demo_accounts
from worker.local.demo.stack import DemoFailed, DemoStack
from worker.local.demo.workspace import Workspace
from worker.settings import Settings

#: Characters that a pattern of Redis reads otherwise.
PREFIX = "re[f]*:"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    made = redis.Redis.from_url(redis_url, decode_responses=True)
    yield made
    made.close()


@pytest.fixture
def stack(redis_url: str, tmp_path: Path) -> DemoStack:
    """A demo whose Redis had one before."""
    settings = Settings(
        redis_url=SecretStr(redis_url), data_dir=tmp_path, redis_prefix=PREFIX, keys=SecretStr(generate_key())
    )
    made = DemoStack(settings, Workspace(tmp_path))
    made._claim_foreign_redis()
    return made


def keys_of(client: redis.Redis) -> set[str]:
    return set(client.scan_iter())


def test_what_a_demo_left_goes_and_nothing_else(stack: DemoStack, client: redis.Redis) -> None:
    keys = Keys(PREFIX)
    left = [
        keys.token("demo-01"),
        keys.account("demo-5000"),
        keys.events,
        f"{PREFIX}budget:{{acorn-crm}}:tat",
    ]
    for key in left:
        client.set(key, "1")
    for key in ("theirs", "ref:token:{acct}"):
        client.set(key, "1")

    stack._claim_foreign_redis()

    assert keys_of(client) == {"theirs", "ref:token:{acct}", f"{PREFIX}demo"}


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("key", ["stash:{acct-1}", "account:{demo-1x}", "budget:{google}:pause"])
def test_a_redis_that_holds_real_accounts_since_is_left_alone(
    key: str, goes_on: bool, stack: DemoStack, client: redis.Redis
) -> None:
    client.set(f"{PREFIX}{key}", "the only copy")
    stack.goes_on = goes_on
    before = keys_of(client)

    with pytest.raises(DemoFailed, match="holds more than the last demo left"):
        stack._claim_foreign_redis()

    assert keys_of(client) == before


def test_the_accounts_of_a_demo_are_known_by_their_ids() -> None:
    assert all(DEMO_ID.fullmatch(one.id) for one in demo_accounts(5000))


def test_the_shell_s_file_is_not_there_before_all_of_it_is_known(
    stack: DemoStack, client: redis.Redis
) -> None:
    client.flushdb()
    stack.ground.write_shell(embedded_redis=True, provider_url="http://127.0.0.1:1")
    stack.set_the_scene(1, keep=True)
    stack.start_redis()
    assert not stack.ground.shell.exists()
