"""A provider that is down, and a client that is refused: told once for all of their accounts, and their end too."""

from __future__ import annotations

from typing import Any

import httpx

from models.attempt import Trigger
from models.budget import Breaker
from tests.path.test_refresh import granted
from tests.webhooks.conftest import Post
from worker.policy.verdict_words import CLIENT_ACCEPTED_AGAIN, PROVIDER_ANSWERS_AGAIN

FLEET = [f"acct-{number}" for number in range(Breaker().threshold)]


def of_a_whole(post: Post) -> list[dict[str, str]]:
    """The stream's entries that are about no single account."""
    entries: Any = post.runtime.redis.xrange(post.runtime.keys.events)
    return [
        {name: fields[name] for name in ("type", "provider", "client", "reason") if name in fields}
        for _, fields in entries
        if "account" not in fields
    ]


def messages(post: Post) -> list[tuple[str, str, str | None, str]]:
    post.tell()
    return [
        (m["type"], m["data"]["provider"], m["data"].get("client"), m["data"]["reason"])
        for _, m in post.taken
        if "account" not in m["data"]
    ]


def open_again(post: Post) -> None:
    """Let a breaker's pause be over."""
    for key in post.runtime.redis.scan_iter("*:breaker"):
        post.runtime.redis.hset(str(key), mapping={"until": "0", "again": "0"})


def test_an_outage_is_told_once_for_the_provider_and_its_end_too(post: Post) -> None:
    for account in FLEET:
        post.add(account)
    post.answer = lambda _: httpx.Response(503)
    post.refresh(*FLEET)
    open_again(post)
    post.refresh(FLEET[0], trigger=Trigger.FORCED)
    assert post.runtime.run(post.runtime.watch.recovered()) == 0

    post.answer = granted
    open_again(post)
    post.refresh(FLEET[0], trigger=Trigger.FORCED)
    assert post.runtime.run(post.runtime.watch.recovered()) == 1
    assert post.runtime.run(post.runtime.watch.recovered()) == 0

    reason = of_a_whole(post)[0]["reason"]
    assert of_a_whole(post) == [
        {"type": "degraded", "provider": "acme@provider.example", "reason": reason},
        {"type": "recovered", "provider": "acme@provider.example", "reason": PROVIDER_ANSWERS_AGAIN},
    ]
    assert messages(post) == [
        ("degraded", "acme@provider.example", None, reason),
        ("recovered", "acme@provider.example", None, PROVIDER_ANSWERS_AGAIN),
    ]


def test_a_refused_client_is_told_once_whoever_probes_and_when_it_is_accepted_again(post: Post) -> None:
    for account in FLEET:
        post.add(account)
    post.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    for account in FLEET[:3]:
        open_again(post)
        post.refresh(account)
    post.answer = granted
    open_again(post)
    post.refresh(FLEET[4])
    post.runtime.run(post.runtime.watch.recovered())

    assert messages(post) == [
        ("misconfigured", "acme", "client", "invalid_client"),
        ("recovered", "acme", "client", CLIENT_ACCEPTED_AGAIN),
    ]
    assert [entry["type"] for entry in of_a_whole(post)] == ["misconfigured", "recovered"]


def test_an_outage_that_lasts_is_told_again_after_a_day(post: Post) -> None:
    post.add("acme-1")
    post.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    post.refresh("acme-1")
    post.sql("UPDATE outage SET told_at = told_at - 86400")
    open_again(post)
    post.refresh("acme-1", trigger=Trigger.FORCED)

    assert [kind for kind, *_ in messages(post)] == ["misconfigured", "misconfigured"]


def test_while_the_database_is_away_a_breaker_opens_untold_and_its_next_opening_tells_it(post: Post) -> None:
    post.add("acme-1")
    post.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    post.refresh("acme-1")
    post.sql("DELETE FROM outage")
    post.sql("DELETE FROM outbox")
    open_again(post)
    post.refresh("acme-1", trigger=Trigger.FORCED)

    assert [kind for kind, *_ in messages(post)] == ["misconfigured"]
