"""The stash, on a real Redis: an answer comes out of it as it went in, however long it waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from models.token import Secret, TokenSet
from refreshd_reader.contract import Keys
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.errors import SealBroken
from worker.redis.client import connect, connect_async
from worker.redis.pending_answers import PendingAnswer, PendingAnswers, waiting_by_key

#: Nothing in it is a pattern.
KEYS = Keys("team[1]*:")
CIPHER = Cipher(parse_keys(generate_key("k1")))
WHOLE = TokenSet(
    Secret("AT"), Secret("RT"), "DPoP", "read", 1.5, 2.5, 3.5, {"instance_url": "https://a.example"}
)
BARE = TokenSet(Secret("AT"), None, "Bearer", None, None, None)


@pytest.fixture
async def stash(redis_url: str) -> AsyncIterator[PendingAnswers]:
    client = connect_async(redis_url)
    yield PendingAnswers(client, KEYS, CIPHER)
    await client.aclose()


@pytest.mark.parametrize("tokens", [WHOLE, BARE], ids=["whole", "bare"])
async def test_an_answer_comes_out_as_it_went_in(stash: PendingAnswers, tokens: TokenSet) -> None:
    answer = PendingAnswer(7, tokens)
    assert stash.open("a", stash.seal("a", answer)) == answer


@pytest.mark.parametrize("plain", ["no JSON", "[]", "{}", '{"generation": "x"}', '{"generation": 1}', "null"])
async def test_what_is_no_answer_is_said_so(stash: PendingAnswers, plain: str) -> None:
    sealed = CIPHER.seal(Secret(plain), account="a", field="stash")
    with pytest.raises(SealBroken, match="the stashed answer of account a is of an unknown form"):
        stash.open("a", sealed)


async def test_it_waits_for_as_long_as_it_takes_and_is_counted(stash: PendingAnswers, redis_url: str) -> None:
    here = connect(redis_url)
    here.set("team1x:stash:{a}", "another prefix'")
    await stash.put({"a": "v1.k1.AAAA", "b": "v1.k2.AAAA", "c": "v1.k1.AAAA", "d": "broken"})
    assert here.ttl(KEYS.stash("a")) == -1
    assert waiting_by_key(here, KEYS) == {"?": 1, "k1": 2, "k2": 1}
    await stash.clear(["a", "b"])
    assert waiting_by_key(here, KEYS) == {"?": 1, "k1": 1}
