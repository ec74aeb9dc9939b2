"""The provider of these tests, and the judge of a chaos run: what they count, they count rightly."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from benchmarks.chaos.losses import Losses
from tests.support.providers.grants import Fault, Grant, access_token, refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.waiting import wait_until


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(latency_s=0.05, delay_s=60) as made:
        made.grant(["strict"])
        made.grant(["graceful"], grace_s=60)
        yield made


def ask(provider: ScriptedProvider, account: str, serial: int) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token(account, serial)}
    return httpx.post(provider.token_url, data=form, timeout=60)


def test_it_rotates(provider: ScriptedProvider) -> None:
    first, second = ask(provider, "strict", 0), ask(provider, "strict", 1)
    assert first.json()["refresh_token"] == refresh_token("strict", 1)
    assert second.json()["access_token"] == access_token("strict", 2)
    assert (provider.refreshes, provider.reuses) == (2, 0)


def test_reuse_ends_the_grant(provider: ScriptedProvider) -> None:
    ask(provider, "strict", 0)
    assert ask(provider, "strict", 0).json() == {"error": "invalid_grant"}
    assert ask(provider, "strict", 1).status_code == 400
    assert provider.reuses == 1


def test_within_the_grace_a_replay_brings_the_same_tokens(provider: ScriptedProvider) -> None:
    first, replayed = ask(provider, "graceful", 0), ask(provider, "graceful", 0)
    assert first.json()["refresh_token"] == replayed.json()["refresh_token"]
    ask(provider, "graceful", 1)
    assert ask(provider, "graceful", 0).status_code == 400


def test_two_calls_of_one_grant_at_once_overlap(provider: ScriptedProvider) -> None:
    provider.answering.clear()
    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(lambda _: ask(provider, "graceful", 0), range(2))
        wait_until(lambda: len(provider.grants["graceful"].calls) == 2, "both calls have begun")
        provider.answering.set()
        assert [answer.status_code for answer in answers] == [200, 200]
    assert provider.overlaps == 1
    ask(provider, "graceful", 1)
    assert provider.overlaps == 1


@pytest.mark.parametrize("fault", [Fault.ANSWER_DROPPED, Fault.DELAYED, Fault.GARBAGE])
def test_a_reuse_after_an_answer_that_was_lost_on_purpose_is_explained(
    provider: ScriptedProvider, fault: Fault
) -> None:
    losses = Losses(provider)
    once(provider, fault)
    try:
        answer: httpx.Response | None = httpx.post(
            provider.token_url, data={"refresh_token": refresh_token("strict", 0)}, timeout=1
        )
    except httpx.TransportError:
        answer = None
    assert answer is None or b"token" not in answer.content

    ask(provider, "strict", 0)
    losses.grant_lost(provider.grants["strict"], reason="invalid_grant")

    assert (losses.reuses_explained, losses.grants_lost_by_injection) == (1, 1)
    assert (losses.reuses_unexplained, losses.grants_lost_unexplained) == ([], [])


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.UNAVAILABLE, 503), (Fault.RATE_LIMITED, 429), (Fault.RESET, None)]
)
def test_other_faults_spend_nothing(provider: ScriptedProvider, fault: Fault, status: int | None) -> None:
    losses = Losses(provider)
    once(provider, fault)
    if status is None:
        with pytest.raises(httpx.TransportError):
            ask(provider, "strict", 0)
    else:
        assert ask(provider, "strict", 0).status_code == status
    assert ask(provider, "strict", 0).status_code == 200
    assert not losses.injected


def test_any_other_reuse_and_lost_grant_count(provider: ScriptedProvider) -> None:
    losses = Losses(provider)
    ask(provider, "strict", 0)
    ask(provider, "strict", 0)
    losses.grant_lost(provider.grants["strict"], reason="invalid_grant")
    losses.grant_lost(provider.grants["graceful"], reason="invalid_grant")

    assert len(losses.reuses_unexplained) == 1
    assert len(losses.grants_lost_unexplained) == 1
    assert len(losses.graceful_grants_lost) == 1
    assert losses.grants_lost_by_injection == 0


def once(provider: ScriptedProvider, fault: Fault) -> None:
    """Have one call fail."""
    left = [fault]

    def script(_: Grant) -> Fault | None:
        return left.pop() if left else None

    provider.script = script


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        (Fault.UNAVAILABLE, 503, None),
        (Fault.UNAVAILABLE_FOR_A_WHILE, 503, "300"),
        (Fault.RATE_LIMITED, 429, "300"),
        (Fault.INVALID_CLIENT, 401, None),
        (Fault.UNAUTHORIZED, 401, None),
        (Fault.FORBIDDEN, 403, None),
        (Fault.FORBIDDEN_FOR_A_WHILE, 403, "300"),
        (Fault.REDIRECTED, 302, None),
    ],
)
def test_a_refusal_spends_no_refresh_token(
    provider: ScriptedProvider, fault: Fault, status: int, retry_after: str | None
) -> None:
    provider.retry_after_s = 300
    provider.script = lambda _: fault
    refused = ask(provider, "strict", 0)
    provider.script = lambda _: None

    assert (refused.status_code, refused.headers.get("Retry-After")) == (status, retry_after)
    assert ask(provider, "strict", 0).status_code == 200


def test_a_silent_one_never_answers_and_forgets_who_hung_up(provider: ScriptedProvider) -> None:
    provider.script = lambda _: Fault.SILENT
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(provider.token_url, data={"refresh_token": refresh_token("strict", 0)}, timeout=0.2)
    wait_until(lambda: not provider.under_way, "the call is over")
    provider.script = lambda _: None

    assert ask(provider, "strict", 0).status_code == 200


def test_one_account_may_have_longer_tokens(provider: ScriptedProvider) -> None:
    provider.lifetimes_s = {"graceful": 86_400}

    assert ask(provider, "graceful", 0).json()["expires_in"] == 86_400
    assert ask(provider, "strict", 0).json()["expires_in"] == provider.lifetime_s
