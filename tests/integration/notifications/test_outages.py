"""A provider that is down, and a client that is refused: told once for all of their accounts, and their end too."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from models.tables.attempt import Trigger
from tests.integration.notifications.conftest import Post
from tests.integration.refresh.test_refresher import granted
from worker.policy.gates import EVIDENCE
from worker.policy.reasons.done import CLIENT_ACCEPTED_AGAIN, PROVIDER_ANSWERS_AGAIN

FLEET = [f"acct-{number}" for number in range(EVIDENCE + 1)]
REFUSED = httpx.Response(401, json={"error": "invalid_client"})


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


def fail(post: Post, answer: httpx.Response) -> None:
    """Have as many accounts fail as it takes to close a gate."""
    post.answer = lambda _: answer
    for account in FLEET[:EVIDENCE]:
        post.refresh(account, trigger=Trigger.FORCED)


def succeed(post: Post) -> None:
    post.answer = granted
    post.refresh(FLEET[-1], trigger=Trigger.FORCED)
    post.runtime.run(post.runtime.admission.close())


@pytest.fixture
def fleet(post: Post) -> Post:
    for account in FLEET:
        post.add(account, succeeded_at=1.0)
    return post


def test_an_outage_is_told_once_for_the_provider_and_its_end_too(fleet: Post) -> None:
    fail(fleet, httpx.Response(503))
    fleet.refresh(FLEET[0], trigger=Trigger.FORCED)
    assert fleet.runtime.run(fleet.runtime.watch.recovered()) == 0

    succeed(fleet)
    assert fleet.runtime.run(fleet.runtime.watch.recovered()) == 1
    assert fleet.runtime.run(fleet.runtime.watch.recovered()) == 0

    reason = of_a_whole(fleet)[0]["reason"]
    assert of_a_whole(fleet) == [
        {"type": "degraded", "provider": "acme@provider.example", "reason": reason},
        {"type": "recovered", "provider": "acme@provider.example", "reason": PROVIDER_ANSWERS_AGAIN},
    ]
    assert messages(fleet) == [
        ("degraded", "acme@provider.example", None, reason),
        ("recovered", "acme@provider.example", None, PROVIDER_ANSWERS_AGAIN),
    ]


def test_a_refused_client_is_told_once_and_when_it_is_accepted_again(fleet: Post) -> None:
    fail(fleet, REFUSED)
    succeed(fleet)
    fleet.runtime.run(fleet.runtime.watch.recovered())

    assert messages(fleet) == [
        ("misconfigured", "acme@provider.example", "client", "invalid_client"),
        ("recovered", "acme@provider.example", "client", CLIENT_ACCEPTED_AGAIN),
    ]
    assert [entry["type"] for entry in of_a_whole(fleet)] == ["misconfigured", "recovered"]


def test_an_outage_that_lasts_is_told_again_after_a_day(fleet: Post) -> None:
    fail(fleet, REFUSED)
    fleet.sql("UPDATE outage SET told_at = told_at - 86400")
    fleet.runtime.admission._told_at.clear()  # the database is asked every ten minutes
    fleet.refresh(FLEET[0], trigger=Trigger.FORCED)

    assert [kind for kind, *_ in messages(fleet)] == ["misconfigured", "misconfigured"]


def test_an_outage_whose_telling_was_lost_is_told_by_a_later_failure(fleet: Post) -> None:
    fail(fleet, REFUSED)
    fleet.sql("DELETE FROM outage")
    fleet.sql("DELETE FROM outbox")
    fleet.runtime.admission._told_at.clear()
    fleet.refresh(FLEET[0], trigger=Trigger.FORCED)

    assert [kind for kind, *_ in messages(fleet)] == ["misconfigured"]
