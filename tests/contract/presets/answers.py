"""What each preset makes of the provider's answers, held against the facts: tokens, lives, published fields, failures."""

from __future__ import annotations

import httpx

from models.answer import Answer, Verdict
from models.providers import Provider
from models.token import Secret, TokenSet
from tests.contract.presets.accounts import account_at
from tests.contract.presets.facts import Facts, Failure
from tests.contract.presets.mismatches import Mismatches
from tests.support.providers.provider_double import NOW, Wire
from worker.policy.token_merge import StoredToken, merge
from worker.policy.verdicts.verdict import judge

#: What RFC 6749 section 5.2 and HTTP say, whatever the provider adds.
STANDARD = (
    Failure(status=400, body={"error": "invalid_grant"}, verdict=Verdict.REAUTHORIZE),
    Failure(status=401, body={"error": "invalid_client"}, verdict=Verdict.MISCONFIGURED),
    Failure(status=400, body={"error": "unsupported_grant_type"}, verdict=Verdict.MISCONFIGURED),
    Failure(status=429, headers={"retry-after": "7"}, verdict=Verdict.RATE_LIMITED),
    Failure(status=500, verdict=Verdict.RETRY),
    Failure(status=503, verdict=Verdict.RETRY),
)


async def check_success(preset: Provider, facts: Facts, mismatches: Mismatches) -> None:
    """A success in the provider's shape is refreshed, with its tokens, its ends and its published fields."""
    body = {**_published(facts), **facts.answers, "noise": [{"access_token": "x"}]}
    answer = await _answer_to(preset, facts, httpx.Response(facts.status, json=body))
    mismatches.expect("verdict of a success", judge(answer, preset.error_rules).verdict, Verdict.REFRESHED)
    tokens = _stored(preset, answer)
    refresh_token = tokens.refresh_token and tokens.refresh_token.reveal()
    mismatches.expect("access token", tokens.access_token.reveal(), "AT-2")
    mismatches.expect("refresh token", refresh_token, "RT-2" if "RT-2" in str(facts.answers) else "RT-1")
    mismatches.expect("end of the access token", tokens.expires_at, _after(facts.lifetime_s))
    mismatches.expect("published fields", tokens.extra, _published(facts))
    if facts.refresh_ends_s is not None:
        ends = tokens.refresh_token_expires_at
        mismatches.expect("end of the refresh token", ends, NOW + facts.refresh_ends_s)


async def check_documented_lifetime(preset: Provider, facts: Facts, mismatches: Mismatches) -> None:
    """A token lives as long as the provider documents where its answer does not say."""
    silent = httpx.Response(facts.status, json=_without_its_end(facts.answers))
    tokens = _stored(preset, await _answer_to(preset, facts, silent))
    mismatches.expect("end where the answer names none", tokens.expires_at, _after(facts.lives_s))


async def check_failures(preset: Provider, facts: Facts, mismatches: Mismatches) -> None:
    """Each failure means what the provider documents, and what the standard says."""
    for failure in (*facts.fails, *STANDARD):
        answer = await _answer_to(preset, facts, _reply(failure))
        verdict = judge(answer, preset.error_rules).verdict
        what = f"verdict of {failure.status} {failure.headers or ''} {failure.body}"
        mismatches.expect(what, verdict, failure.verdict)


def check_token_lives(preset: Provider, facts: Facts, mismatches: Mismatches) -> None:
    """What is known of refresh tokens, and of old access tokens."""
    mismatches.expect("replay_grace_s", preset.replay_grace_s, facts.grace_s)
    mismatches.expect("old_access_token", preset.old_access_token, facts.old)
    mismatches.expect("replay_until_used", preset.replay_until_used, facts.until_used)
    mismatches.expect("refresh_token_idle_s", preset.refresh_token_idle_s, facts.idle_s)
    mismatches.expect("refresh_token_lifetime_s", preset.refresh_token_lifetime_s, facts.hard_s)
    mismatches.expect("refresh_window_s", preset.refresh_window_s, facts.window_s)
    if facts.rotates is not None:
        mismatches.expect("rotates", preset.rotates, facts.rotates)
    if facts.margin_s is not None:
        mismatches.expect("margin_s", preset.margin_s, facts.margin_s)


async def _answer_to(preset: Provider, facts: Facts, reply: httpx.Response) -> Answer:
    return await Wire(reply).call(account_at(preset, facts))


def _stored(preset: Provider, answer: Answer) -> TokenSet:
    """The token set that a success becomes; what the account held before has no known end."""
    assert answer.token is not None, answer.fault_detail
    return merge(
        answer.token,
        StoredToken(refresh_token=Secret("RT-1")),
        issued_at=NOW,
        default_lifetime_s=preset.default_lifetime_s,
        never_expires=preset.never_expires,
        refresh_token_lifetime_s=preset.refresh_token_lifetime_s,
    )


def _after(lifetime_s: float | None) -> float | None:
    return None if lifetime_s is None else NOW + lifetime_s


def _published(facts: Facts) -> dict[str, object]:
    return {name: facts.answers.get(name, f"value of {name}") for name in facts.publishes}


def _without_its_end(body: dict[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for key, value in body.items():
        if "expir" in key.lower():
            continue
        kept[key] = _without_its_end(value) if isinstance(value, dict) else value
    return kept


def _reply(failure: Failure) -> httpx.Response:
    if failure.body is None:
        return httpx.Response(failure.status, headers=failure.headers)
    return httpx.Response(failure.status, json=failure.body, headers=failure.headers)
