"""With REFRESHD_PUBLISH_KEYS no access token stands in Redis in clear, and readers with the keys notice nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from pydantic import SecretStr

from models.publication import publication
from refreshd_reader import AsyncReader, KeyMissing, Reader
from tests.contract.leaks.places import redis_keys
from tests.integration.conftest import Bench
from worker.accounts.publisher import CommandPublisher
from worker.errors import SettingsError
from worker.settings import Settings, load_settings

KEYS: Final = f"p1:{base64.b64encode(b'p' * 32).decode()}"
OTHER_KEYS: Final = f"p2:{base64.b64encode(b'q' * 32).decode()}"
FRESH: Final = "fresh-access-token-that-nobody-else-may-see"


@pytest.fixture
def sealing(settings: Settings) -> Iterator[Bench]:
    made = Bench(settings.model_copy(update={"publish_keys": SecretStr(KEYS)}))
    made.answer = lambda _: httpx.Response(200, json={"access_token": FRESH, "expires_in": 3600})
    yield made
    made.runtime.close()


def all_of_redis(url: str) -> str:
    return "\n".join(held for _, held in redis_keys(url))


def test_what_a_worker_publishes_is_read_with_the_key_alone(sealing: Bench, redis_url: str) -> None:
    sealing.add()
    sealing.refresh()

    with Reader.from_url(redis_url, keys=f"{OTHER_KEYS},{KEYS}") as reader:
        token = reader.get("acct")
    assert (token.access_token, token.generation) == (FRESH, 2)
    for keys in (None, OTHER_KEYS):
        with Reader.from_url(redis_url, keys=keys) as reader, pytest.raises(KeyMissing):
            reader.get("acct")
    seen = all_of_redis(redis_url)
    assert "sealed_access_token" in seen
    assert FRESH not in seen


def test_a_reader_on_asyncio_opens_it_too(sealing: Bench, redis_url: str) -> None:
    sealing.add()
    sealing.refresh()

    async def read() -> str:
        async with AsyncReader.from_url(redis_url, keys=KEYS, cache_size=1) as reader:
            return (await reader.get("acct")).access_token

    assert asyncio.run(read()) == FRESH


def test_what_reconcile_fills_a_lost_redis_with_is_sealed(sealing: Bench, redis_url: str) -> None:
    sealing.add()
    sealing.refresh()
    sealing.runtime.redis.flushdb()

    sealing.runtime.run(sealing.runtime.reconciler.reconcile())

    with Reader.from_url(redis_url, keys=KEYS) as reader:
        assert reader.get("acct").access_token == FRESH
    assert FRESH not in all_of_redis(redis_url)


def test_what_a_command_publishes_is_sealed(sealing: Bench, redis_url: str) -> None:
    account, here = sealing.add(), sealing.runtime
    shown = publication(account, here.sealer.open(account, "access_token"), now=here.clock.now())

    with CommandPublisher(
        redis_url=lambda: redis_url,
        keys=here.keys,
        store=here.publication_store,
        seal=here.settings.token_seal,
    ) as publisher:
        publisher.put([shown])

    with Reader.from_url(redis_url, keys=KEYS) as reader:
        assert reader.get("acct").access_token == "old-access"
    assert "old-access" not in all_of_redis(redis_url)


@pytest.mark.parametrize("wrong", ["p1:c2hvcnQ=", "no-colon-in-this-secret", "p1:!!!", f"{KEYS},"])
def test_keys_that_seal_nothing_are_named_at_the_start_and_never_shown(wrong: str) -> None:
    with pytest.raises(SettingsError, match="REFRESHD_PUBLISH_KEYS") as caught:
        load_settings(publish_keys=wrong)
    assert "c2hvcnQ" not in str(caught.value)
    assert "no-colon" not in str(caught.value)


def test_an_empty_setting_is_none() -> None:
    assert load_settings(publish_keys="").token_seal is None
