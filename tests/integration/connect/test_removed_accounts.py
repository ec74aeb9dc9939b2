"""Consents of accounts that are removed before their customers are back: they belong to no account that comes later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.connect.conftest import CookieJar, Platform, granted, on_both, outcome
from tests.integration.intake.conftest import ACME
from worker.intake.requests import Code, Op


def remove(platform: Platform) -> None:
    assert platform.asker.ask(Op.REMOVE_ACCOUNT, account="acct").code is Code.DONE


def add_for_somebody_else(platform: Platform) -> None:
    fields: dict[str, Any] = {
        **ACME,
        "provider": "crm",
        "refresh_token": "of-the-new-owner",
        "access_token": "new-owner",
    }
    del fields["token_url"]
    reply = platform.asker.ask(Op.PUT_ACCOUNT, account="acct", fields=fields)
    assert reply.code is Code.DONE, reply


def meanwhile(happens: Callable[[], None]) -> Any:
    """Return a provider that has something happen while it is asked."""

    async def answer(_: httpx.Request) -> httpx.Response:
        await asyncio.to_thread(happens)
        return granted(2)

    return answer


@on_both
def test_a_session_of_a_removed_account_gives_its_grant_to_no_other_of_the_same_id(
    platform: Platform,
) -> None:
    platform.connected(platform.open())
    session, browser = platform.open(), CookieJar()
    state = platform.press(session, browser)["state"]
    remove(platform)
    add_for_somebody_else(platform)
    platform.bench.answer = lambda _: granted(2)

    back = outcome(platform.back(browser, code="the-code", state=state))

    assert platform.bench.refresh_token() == "of-the-new-owner"
    assert (back["status"], back["reason"]) == ("failed", "not_stored")
    found = platform.sessions.find(session.id)
    assert found is not None
    assert found.detail == "the account was removed meanwhile"


def test_a_session_of_a_removed_account_does_not_make_it_anew(platform: Platform) -> None:
    platform.connected(platform.open())
    session, browser = platform.open(), CookieJar()
    state = platform.press(session, browser)["state"]
    remove(platform)
    platform.bench.answer = lambda _: granted(2)

    platform.back(browser, code="the-code", state=state)

    assert platform.status(session)[0] == "failed"
    assert platform.bench.token() is None


@on_both
@pytest.mark.parametrize("is_given_up", [False, True], ids=["at work", "given up on"])
def test_a_code_that_is_exchanged_meanwhile_gives_its_grant_to_no_other_account(
    platform: Platform, *, is_given_up: bool
) -> None:
    platform.connected(platform.open())

    def removed() -> None:
        if is_given_up:
            platform.over()
            platform.sessions.end_overdue()
        remove(platform)
        add_for_somebody_else(platform)

    session = platform.open()
    platform.bench.answer = meanwhile(removed)
    platform.connected(session)

    assert platform.bench.refresh_token() == "of-the-new-owner"
    assert platform.status(session) == ("failed", "not_stored")


def test_sessions_of_other_accounts_and_later_ones_go_on(platform: Platform) -> None:
    platform.connected(platform.open())
    other = platform.open("other")
    remove(platform)
    platform.bench.answer = lambda _: granted(2)

    platform.connected(platform.open())
    platform.bench.answer = lambda _: granted(3)
    platform.connected(other)

    assert platform.bench.refresh_token() == "marker-refresh-2"
    assert platform.status(other) == ("connected", None)
