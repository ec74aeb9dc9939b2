"""What each preset makes of the provider's answers, held against the facts: tokens, lives, published fields, failures."""

from __future__ import annotations

import httpx
import pytest

from models.answer import Answer, Verdict
from models.providers.presets import load_presets
from models.token import Secret, TokenSet
from tests.contract.presets.accounts import account_at
from tests.contract.presets.facts import Facts, Failure, known
from tests.support.providers.provider_double import NOW, Wire
from worker.policy.token_merge import StoredToken, merge
from worker.policy.verdicts.verdict import judge

PRESETS = load_presets()
NAMES = sorted(known())
#: What RFC 6749 section 5.2 and HTTP say, whatever the provider adds.
STANDARD = (
    Failure(status=400, body={"error": "invalid_grant"}, verdict=Verdict.REAUTHORIZE),
    Failure(status=401, body={"error": "invalid_client"}, verdict=Verdict.MISCONFIGURED),
    Failure(status=400, body={"error": "unsupported_grant_type"}, verdict=Verdict.MISCONFIGURED),
    Failure(status=429, headers={"retry-after": "7"}, verdict=Verdict.RATE_LIMITED),
    Failure(status=500, verdict=Verdict.RETRY),
    Failure(status=503, verdict=Verdict.RETRY),
)


async def answer_to(name: str, reply: httpx.Response) -> Answer:
    return await Wire(reply).call(account_at(PRESETS[name], known()[name]))


def stored(name: str, answer: Answer) -> TokenSet:
    """The token set that a success becomes; what the account held before has no known end."""
    preset = PRESETS[name]
    assert answer.token is not None
    return merge(
        answer.token,
        StoredToken(refresh_token=Secret("RT-1")),
        issued_at=NOW,
        default_lifetime_s=preset.default_lifetime_s,
        never_expires=preset.never_expires,
        refresh_token_lifetime_s=preset.refresh_token_lifetime_s,
    )


def published(facts: Facts) -> dict[str, object]:
    return {name: facts.answers.get(name, f"value of {name}") for name in facts.publishes}


@pytest.mark.parametrize("name", NAMES)
async def test_a_success_in_the_providers_shape_is_refreshed(name: str) -> None:
    facts = known()[name]
    answer = await answer_to(
        name,
        httpx.Response(
            facts.status, json={**published(facts), **facts.answers, "noise": [{"access_token": "x"}]}
        ),
    )

    assert judge(answer, PRESETS[name].error_rules).verdict is Verdict.REFRESHED
    tokens = stored(name, answer)
    assert tokens.access_token.reveal() == "AT-2"
    assert tokens.refresh_token is not None
    assert tokens.refresh_token.reveal() == ("RT-2" if "RT-2" in str(facts.answers) else "RT-1")
    assert tokens.expires_at == (None if facts.lifetime_s is None else NOW + facts.lifetime_s)
    assert tokens.extra == published(facts)
    if facts.refresh_ends_s is not None:
        assert tokens.refresh_token_expires_at == NOW + facts.refresh_ends_s


@pytest.mark.parametrize("name", NAMES)
async def test_a_token_lives_as_long_as_the_provider_documents_where_the_answer_does_not_say(
    name: str,
) -> None:
    facts = known()[name]
    silent = _without_its_end(facts.answers)
    tokens = stored(name, await answer_to(name, httpx.Response(facts.status, json=silent)))
    assert tokens.expires_at == (None if facts.lives_s is None else NOW + facts.lives_s)


def _without_its_end(body: dict[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for key, value in body.items():
        if "expir" in key.lower():
            continue
        kept[key] = _without_its_end(value) if isinstance(value, dict) else value
    return kept


@pytest.mark.parametrize("name", NAMES)
async def test_each_failure_means_what_the_provider_says(name: str) -> None:
    failures = {
        f"{number}: {failure.status} {failure.body}": failure
        for number, failure in enumerate((*known()[name].fails, *STANDARD))
    }
    meant = {
        label: judge(await answer_to(name, _reply(failure)), PRESETS[name].error_rules).verdict
        for label, failure in failures.items()
    }
    assert meant == {label: failure.verdict for label, failure in failures.items()}


def _reply(failure: Failure) -> httpx.Response:
    if failure.body is None:
        return httpx.Response(failure.status, headers=failure.headers)
    return httpx.Response(failure.status, json=failure.body, headers=failure.headers)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_of_refresh_tokens_and_of_old_access_tokens(name: str) -> None:
    facts, preset = known()[name], PRESETS[name]
    assert (preset.replay_grace_s, preset.old_access_token) == (facts.grace_s, facts.old)
    assert preset.replay_until_used is facts.until_used
    assert (preset.refresh_token_idle_s, preset.refresh_token_lifetime_s) == (facts.idle_s, facts.hard_s)
    assert preset.refresh_window_s == facts.window_s
    if facts.rotates is not None:
        assert preset.rotates is facts.rotates
    if facts.margin_s is not None:
        assert preset.margin_s == facts.margin_s
