"""The stash, on a real Redis: an answer comes out of it as it went in, however long it waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

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
    more = PendingAnswer(7, tokens, alone=True, sent_at=4.5, grant=seen, given=True)
    for answer in (PendingAnswer(7, tokens), more):
        sealed = stash.seal("a", answer)
        assert stash.open("a", sealed) == replace(answer, sealed=sealed)


def test_an_answer_of_an_older_worker_is_read() -> None:
    """It names neither when its request was sent nor with which grant."""
    plain = (
        '{"generation": 7, "access_token": "AT", "refresh_token": null, "token_type": "Bearer", "scope": null, '
        '"issued_at": 1.5, "expires_at": null, "refresh_token_expires_at": null, "extra": {}}'
    )
    sealed = CIPHER.seal(Secret(plain), account="a", field="stash")
    answer = PendingAnswers.read(CIPHER, "a", sealed)
    assert (answer.generation, answer.alone, answer.asked_at, answer.grant) == (7, False, 1.5, None)
    assert not answer.given


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
    await stash.forget({"a": "v1.k1.AAAA", "b": "v1.k2.AAAA"})
    assert waiting_by_key(here, KEYS) == {"?": 1, "k1": 1}


async def test_an_answer_of_a_refresh_takes_the_place_of_another_and_of_no_given_grant(
    stash: PendingAnswers, redis_url: str
) -> None:
    here = connect(redis_url)
    old, new = (stash.seal("a", PendingAnswer(number, WHOLE)) for number in (1, 2))
    given = stash.seal("b", PendingAnswer(1, WHOLE, given=True))
    foreign = "v1.lost.AAAA"
    await stash.put({"a": old})
    here.set(KEYS.stash("b"), given)
    here.set(KEYS.stash("c"), foreign)

    await stash.put(
        {
            "a": new,
            "b": stash.seal("b", PendingAnswer(2, WHOLE)),
            "c": stash.seal("c", PendingAnswer(2, WHOLE)),
        }
    )

    assert [here.get(KEYS.stash(one)) for one in "abc"] == [new, given, foreign]


async def test_what_waits_meanwhile_is_not_deleted_with_an_answer_that_is_stored(
    stash: PendingAnswers, redis_url: str
) -> None:
    here = connect(redis_url)
    await stash.put({"a": "v1.k1.AAAA", "b": "v1.k1.AAAA"})
    here.set(KEYS.stash("b"), "v1.k1.BBBB")

    await stash.forget({"a": "v1.k1.AAAA", "b": "v1.k1.AAAA", "c": "v1.k1.AAAA"})

    assert [here.get(KEYS.stash(one)) for one in "abc"] == [None, "v1.k1.BBBB", None]
