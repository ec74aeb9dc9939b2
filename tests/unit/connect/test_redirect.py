"""What a provider's redirect says, read without asking anyone."""

from __future__ import annotations

import pytest

from models.answer import Verdict
from models.providers import Provider
from worker.connect.browser_key import BrowserKey
from worker.connect.reasons import REASONS, ConnectReason, message_of, reason_of_verdict
from worker.connect.redirect import CodeReturned, NoCode, SessionPage, read_redirect, single
from worker.providers.authorization import ConsentPage

PAGE = SessionPage(
    ConsentPage("https://id.acme.example/auth?a=b", {"state": "state"}), None, ("id.acme.example",)
)
NAMED = SessionPage(PAGE.page, "https://acme.example/tenant", PAGE.hosts)


def test_a_code_comes_with_what_else_the_redirect_says() -> None:
    found = read_redirect({"code": "abc", "state": "s", "realmId": "7"}, PAGE)

    assert isinstance(found, CodeReturned)
    assert found.code.reveal() == "abc"
    assert found.parameters == {"realmId": "7"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("access_denied", "refused"),
        ("ACCESS_DENIED", "refused"),
        ("user_cancelled_authorize", "refused"),
        ("login_required", "refused"),
        ("invalid_scope", "misconfigured"),
        ("unauthorized_client", "misconfigured"),
        ("redirect_uri_mismatch", "misconfigured"),
        ("server_error", "provider_unavailable"),
        ("temporarily_unavailable", "provider_unavailable"),
        ("own_word", "provider_error"),
        ("", "provider_error"),
    ],
)
def test_an_error_of_the_redirect_has_a_reason(error: str, reason: str) -> None:
    found = read_redirect({"error": error, "error_description": "why\x07", "code": "x"}, PAGE)

    assert isinstance(found, NoCode)
    assert found.reason == reason
    assert found.detail is not None
    assert found.detail.isprintable()


@pytest.mark.parametrize("parameters", [{}, {"code": ""}, {"code": "a" * 9000}])
def test_a_redirect_without_a_code_or_an_error_is_the_provider_s_error(parameters: dict[str, str]) -> None:
    found = read_redirect(parameters, PAGE)
    assert isinstance(found, NoCode)
    assert found.reason == "provider_error"


@pytest.mark.parametrize(
    ("page", "iss", "right"),
    [
        (NAMED, "https://acme.example/tenant", True),
        (NAMED, "https://acme.example/tenant/", False),
        (NAMED, "https://id.acme.example", False),
        (PAGE, "https://id.acme.example/any", True),
        (PAGE, "https://other.example", False),
        (PAGE, "https://id.acme.example.evil.example", False),
        (PAGE, "no url", False),
        (PAGE, "https://[", False),
        (PAGE, "", False),
    ],
)
@pytest.mark.parametrize("answer", [{"code": "abc"}, {"error": "access_denied"}])
def test_an_answer_of_another_issuer_is_not_read(
    page: SessionPage, iss: str, *, right: bool, answer: dict[str, str]
) -> None:
    found = read_redirect({**answer, "iss": iss}, page)
    assert (isinstance(found, NoCode) and found.reason == "wrong_issuer") is not right


def test_a_parameter_that_stands_twice_makes_a_redirect_unreadable() -> None:
    assert single([("state", "a"), ("code", "b")]) == {"state": "a", "code": "b"}
    assert single([("state", "a"), ("state", "a")]) is None


def test_a_session_s_page_is_stored_and_read_again() -> None:
    provider = Provider(name="acme", token_url="https://token.acme.example/t", issuer="https://acme.example")
    page = SessionPage.of(PAGE.page, provider, "https://token.acme.example/t", None)
    assert page.hosts == ("id.acme.example", "token.acme.example")
    assert SessionPage.of_text(page.to_text()) == page


def test_every_reason_has_words_for_the_customer_and_an_action() -> None:
    assert len(REASONS) == 14
    for code, reason in REASONS.items():
        assert isinstance(reason, ConnectReason)
        assert reason == code
        assert message_of(code) == reason.message
        assert reason.message.endswith(".")
        assert reason.action
    assert message_of("none of ours")


def test_every_verdict_on_an_exchange_has_a_reason() -> None:
    for verdict in set(Verdict) - {Verdict.REFRESHED}:
        assert reason_of_verdict(verdict) in REASONS


def test_a_browser_s_question_is_the_same_each_time_and_no_other_browser_s() -> None:
    key, other = BrowserKey.new(), BrowserKey.new()
    again = BrowserKey.of_cookie(key.secret.reveal())
    assert again is not None
    asked = key.asking("cs_1", "https://api.example/cb")

    assert again.asking("cs_1", "https://api.example/cb") == asked
    assert asked.state != asked.verifier.reveal()
    assert 43 <= len(asked.verifier.reveal()) <= 128
    different = [other.asking("cs_1", "https://api.example/cb"), key.asking("cs_2", "https://api.example/cb")]
    assert len({asked.state, *(one.state for one in different)}) == 3
    assert len({asked.challenge, *(one.challenge for one in different)}) == 3


def test_a_session_knows_its_browser() -> None:
    key = BrowserKey.new()
    assert key.is_of("cs_1", key.hash("cs_1"))
    assert not key.is_of("cs_2", key.hash("cs_1"))
    assert not BrowserKey.new().is_of("cs_1", key.hash("cs_1"))
    assert not key.is_of("cs_1", None)


@pytest.mark.parametrize("cookie", [None, "", "short", "a" * 44, "ä" * 43, "a" * 42 + "\n"])
def test_what_no_cookie_of_ours_holds_is_no_key(cookie: str | None) -> None:
    assert BrowserKey.of_cookie(cookie) is None
