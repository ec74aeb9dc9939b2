"""Words that tell dead, throttled, restricted and broken apart: each phrase by an answer that was seen, and its neighbours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from models.answer import Answer, BodyKind, Judgement
from models.providers import Provider
from tests.support.providers.provider_double import Wire, account
from worker.policy.verdicts.row import Phrase, Row, words_of_sentence
from worker.policy.verdicts.table import TABLE
from worker.policy.verdicts.verdict import judge

PHRASES = [(row, phrase) for row in TABLE for phrase in row.phrases]
PROVIDER = Provider(name="acme", token_url="https://acme.example/token")


async def judged(status: int, body: dict[str, Any], *, wait: str | None = None) -> Judgement:
    """Return what an answer means that arrives as JSON."""
    headers = {} if wait is None else {"retry-after": wait}
    answer = await Wire(httpx.Response(status, json=body, headers=headers)).call(account(PROVIDER))
    return judge(answer, ())


@pytest.mark.parametrize(
    ("row", "phrase"), PHRASES, ids=[f"{phrase.words}-{phrase.source}" for _, phrase in PHRASES]
)
async def test_a_phrase_means_what_its_example_does(row: Row, phrase: Phrase) -> None:
    judgement = await judged(phrase.example.status, dict(phrase.example.body))
    assert (judgement.verdict, judgement.reason) == (row.verdict, row.reason)
    assert phrase.source
    assert phrase.words == words_of_sentence(phrase.words).strip()


@pytest.mark.parametrize(
    ("row", "phrase"), PHRASES, ids=[f"{phrase.words}-{phrase.source}" for _, phrase in PHRASES]
)
async def test_without_its_phrase_the_same_answer_means_something_else(row: Row, phrase: Phrase) -> None:
    """So that no example stands there which another line would have taken."""
    body = {name: value for name, value in phrase.example.body.items() if name == "error"}
    code = str(body.get("error", ""))
    body = {} if phrase.words in words_of_sentence(code) else body
    assert (await judged(phrase.example.status, body)).reason != row.reason


@pytest.mark.parametrize(
    ("status", "body", "verdict", "reason"),
    [
        (400, {"error": "invalid_grant: refresh token expired"}, "reauthorize", "invalid_grant"),
        (400, {"error": "Invalid-Grant"}, "reauthorize", "invalid_grant"),
        (400, {"error": "invalid grant"}, "reauthorize", "invalid_grant"),
        (400, {"message": "invalid_grant"}, "reauthorize", "invalid_grant"),
        (400, {"message": "invalid_grant: the grant is gone"}, "reauthorize", "invalid_grant"),
        (401, {"error": "invalid_client: no such client"}, "misconfigured", "invalid_client"),
        (400, {"error": "invalid_request", "message": "Refresh-Token is INVALID!"}, "reauthorize", "refresh_token_invalid"),
        (200, {"error": "failed", "message": "Refresh token has expired."}, "reauthorize", "refresh_token_invalid"),
        (403, {"error": "forbidden", "detail": "Token has been revoked"}, "reauthorize", "refresh_token_invalid"),
        (400, {"error": "invalid_grant", "error_description": "Login Rate Exceeded"}, "rate_limited", "rate_limited"),
        (400, {"error": "access_denied", "error_description": "ip restricted"}, "misconfigured", "access_restricted"),
        (400, {"error": "unknown_error", "error_description": "Retry your request."}, "retry", "retry_asked"),
        # Words about the request, about another token, or beside a clearer code or status, end no grant.
        (400, {"error": "invalid_request", "error_description": "Missing or invalid refresh_token"}, "misconfigured", "invalid_request"),
        (400, {"error": "invalid_request", "error_description": "refresh_token is required"}, "misconfigured", "invalid_request"),
        (400, {"error": "invalid_request", "error_description": "Invalid refresh token parameter"}, "misconfigured", "invalid_request"),
        (400, {"error": "invalid_request", "error_description": "JWT token has expired"}, "misconfigured", "invalid_request"),
        (400, {"error": "invalid_request", "error_description": "client assertion token expired"}, "misconfigured", "invalid_request"),
        (400, {"error": "invalid_request", "error_description": "The refresh token is not expired"}, "misconfigured", "invalid_request"),
        (401, {"error": "invalid_client", "error_description": "Invalid refresh token"}, "misconfigured", "invalid_client"),
        (400, {"error": "invalid_scope", "error_description": "Invalid refresh token"}, "misconfigured", "invalid_scope"),
        (429, {"error": "slow", "error_description": "Invalid refresh token"}, "rate_limited", "rate_limited"),
        (409, {"error": "busy", "error_description": "Token has expired"}, "retry", "conflict"),
        (401, {"error": "invalid_token"}, "misconfigured", "unknown_error"),
        (403, {"error": "access_denied", "error_description": "rate limit exceeded"}, "rate_limited", "rate_limited"),
        (400, {"errors": ["invalid_grant"]}, "reauthorize", "invalid_grant"),
        (400, {"status": "error", "code": "invalid_grant"}, "reauthorize", "invalid_grant"),
        (401, {"errorCode": "invalid_client", "errorSummary": "..."}, "misconfigured", "invalid_client"),
        (400, {"title": "Refresh token expired", "status": 400}, "reauthorize", "refresh_token_invalid"),
        (400, {"msg": "Invalid refresh token"}, "reauthorize", "refresh_token_invalid"),
        (401, {"reason": "Invalid Token! Try another", "error": "invalid_request"}, "misconfigured", "invalid_request"),
        (500, {"error": "server_error", "error_description": "Token refresh failed: 502"}, "retry", "server_error"),
    ],
)  # fmt: skip
async def test_words_and_their_neighbours(
    status: int, body: dict[str, Any], verdict: str, reason: str
) -> None:
    judgement = await judged(status, body)
    assert (judgement.verdict.value, judgement.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("status", "text", "never", "before"),
    [
        (401, "Invalid token", "unknown_error", "refresh_token_invalid"),
        (401, "401 Invalid token", "unknown_error", "refresh_token_invalid"),
        (401, "Invalid token.", "unknown_error", "refresh_token_invalid"),
        (400, "Invalid refresh token", "refresh_token_invalid", "refresh_token_invalid"),
        (200, "Refresh token expired.\n", "refresh_token_invalid", "refresh_token_invalid"),
        (400, "invalid_grant", "invalid_grant", "invalid_grant"),
        (400, '"invalid_grant"', "invalid_grant", "invalid_grant"),
        (400, "Error: invalid_grant", "invalid_grant", "invalid_grant"),
        (400, "Too many requests, please try again later.", "rate_limited", "rate_limited"),
        (403, "Forbidden", "client_refused", "page_instead_of_answer"),
        (401, "Unauthorized", "client_refused", "client_refused"),
        (500, "Internal Server Error", "server_error", "server_error"),
    ],
)
async def test_the_words_of_a_body_that_is_plain_text_count(
    status: int, text: str, never: str, before: str
) -> None:
    answer = await Wire(httpx.Response(status, text=text)).call(account(PROVIDER))
    assert answer.error_description == text.strip().strip('"').removeprefix("401 ")
    assert (judge(answer, ()).reason, judge(answer, (), refreshed_before=True).reason) == (never, before)


async def test_a_refusal_in_plain_text_is_short_and_quotes_no_credential() -> None:
    text = "Invalid token: RT-1, new_token=abc, sid 0123456789abcdef0123456789 " + "and so on " * 100
    answer = await Wire(httpx.Response(401, text=text)).call(account(PROVIDER))
    words = answer.error_description or ""
    assert words.startswith("Invalid token: [redacted]")
    assert len(words) <= 300
    assert not any(secret in words for secret in ("RT-1", "abc", "0123456789abcdef"))


@pytest.mark.parametrize("status", [403, 503])
async def test_a_time_to_wait_makes_a_refusal_a_rate_limit(status: int) -> None:
    waits = await judged(status, {}, wait="75")
    assert (waits.verdict.value, waits.retry_after_s) == ("rate_limited", 75)
    assert (await judged(status, {})).verdict.value != "rate_limited"
    named = await judged(status, {"error": "forbidden"}, wait="75")
    assert named.verdict.value == "rate_limited"


@pytest.mark.parametrize(
    ("answer", "never", "before"),
    [
        (Answer(status=403, body_kind=BodyKind.HTML), "html_page", "page_instead_of_answer"),
        (Answer(status=200, body_kind=BodyKind.HTML), "html_page", "page_instead_of_answer"),
        (Answer(status=401, body_kind=BodyKind.HTML), "html_page", "page_instead_of_answer"),
        (Answer(status=404, body_kind=BodyKind.HTML), "no_token_endpoint", "page_instead_of_answer"),
        (Answer(status=403, body_kind=BodyKind.TEXT), "client_refused", "page_instead_of_answer"),
        (Answer(status=302, body_kind=BodyKind.HTML), "redirected", "page_instead_of_answer"),
        (Answer(status=307), "redirected", "page_instead_of_answer"),
        (Answer(status=503, body_kind=BodyKind.HTML), "server_error", "server_error"),
        (Answer(status=429, body_kind=BodyKind.HTML), "rate_limited", "rate_limited"),
        (Answer(status=401, error="invalid_token"), "unknown_error", "refresh_token_invalid"),
        # Not a page: what says it is what it was.
        (Answer(status=301, body_kind=BodyKind.HTML), "redirected", "redirected"),
        (Answer(status=308), "redirected", "redirected"),
        (Answer(status=404, body_kind=BodyKind.JSON), "no_token_endpoint", "no_token_endpoint"),
        (Answer(status=403, body_kind=BodyKind.JSON), "client_refused", "client_refused"),
        (Answer(status=401, error="invalid_client"), "invalid_client", "invalid_client"),
    ],
)
def test_a_page_is_no_wrong_url_where_the_same_configuration_had_brought_tokens(
    answer: Answer, never: str, before: str
) -> None:
    assert judge(answer, ()).reason == never
    assert judge(answer, (), refreshed_before=True).reason == before
    assert judge(Answer(status=403, body_kind=BodyKind.HTML), (), refreshed_before=True).verdict == "retry"
