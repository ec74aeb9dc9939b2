"""The stash, on a real Redis: an answer comes out of it as it went in, however long it waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from models.token import Secret, TokenSet
from refreshd_reader.contract import Keys
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.errors import SealBroken
from worker.redis.client import connect, connect_async
from worker.redis.pending_answers import GrantSeen, PendingAnswer, PendingAnswers, waiting_by_key

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
    seen = GrantSeen(at=4.5, refresh_fp=None, source_fp="fp")
    for answer in (PendingAnswer(7, tokens), PendingAnswer(7, tokens, alone=True, sent_at=4.5, grant=seen)):
        assert stash.open("a", stash.seal("a", answer)) == answer


def test_an_answer_of_an_older_worker_is_read() -> None:
    """It names neither when its request was sent nor with which grant."""
    plain = (
        '{"generation": 7, "access_token": "AT", "refresh_token": null, "token_type": "Bearer", "scope": null, '
        '"issued_at": 1.5, "expires_at": null, "refresh_token_expires_at": null, "extra": {}}'
    )
    sealed = CIPHER.seal(Secret(plain), account="a", field="stash")
    answer = PendingAnswers.read(CIPHER, "a", sealed)
    assert (answer.generation, answer.alone, answer.asked_at, answer.grant) == (7, False, 1.5, None)


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
