"""What a provider's answers say about an account. Pure; `diagnosis.py` puts it in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from models.account import Status
from models.attempt import INTERRUPTED, Attempt, Outcome
from worker.policy.facts import Facts, Finding
from worker.policy.verdict_words import words_of

_CALLED: Final = frozenset(
    {Outcome.REFRESHED, Outcome.RETRY, Outcome.RATE_LIMITED, Outcome.REAUTHORIZE, Outcome.MISCONFIGURED}
)
EDIT_URL: Final = "Compare the token URL with the provider's documentation: `refreshd accounts edit {} token_url=https://...`"


def provider_says(facts: Facts) -> Iterator[Finding]:
    """Say what the last answers mean for the account."""
    account = facts.account
    last = last_call(facts.attempts)
    said = f' It said: "{last.error_description}".' if last and last.error_description else ""
    if account.status == Status.REAUTHORIZE:
        yield _revoked(facts, said)
    elif account.status == Status.MISCONFIGURED:
        yield _misconfigured(facts, last, said)
    elif last and last.outcome == Outcome.RATE_LIMITED and account.failures == 0:
        yield Finding(
            "rate_limited",
            f"The provider asked to be left alone ({words_of(last.reason or '')}).{said}",
            "Nothing: it is tried again by itself. If it lasts, lower `requests_per_s` of the provider.",
            wrong=account.status != Status.ACTIVE,
        )
    elif last and last.outcome == Outcome.RETRY and last.reason != INTERRUPTED:
        yield Finding(
            "provider_failing",
            f"The last {account.failures or 1} tries failed: {words_of(last.reason or '')}{said}",
            "It is tried again by itself, with growing pauses. "
            f"`refreshd history {account.id}` shows each try as it was answered.",
            wrong=account.status != Status.ACTIVE,
        )


def _revoked(facts: Facts, said: str) -> Finding:
    account, attempts = facts.account, facts.attempts
    again = f"Have its owner log in again, then import the new tokens: `refreshd accounts edit {account.id} refresh_token=@FILE`."
    if any(one.reason == INTERRUPTED for one in attempts):
        return Finding(
            "refresh_token_spent_by_a_lost_answer",
            "A worker died between the provider's answer and the commit; the provider had replaced the refresh token by "
            f"then, and refused the old one.{said}",
            again,
        )
    ours = any(one.outcome == Outcome.REFRESHED for one in attempts)
    rotates = facts.provider is not None and facts.provider.rotates
    if not ours and account.generation <= 1:
        return Finding(
            "refresh_token_rotated_by_somebody_else",
            "The refresh token was refused at its very first use here: it was already used or revoked. Another "
            f"program probably refreshes the same grant.{said}",
            f"Stop the other program, then: {again}",
        )
    who = (
        " Or another program used the refresh token: this provider replaces it at each use."
        if rotates
        else ""
    )
    return Finding("grant_revoked", f"The provider ended the grant ({account.reason}).{said}{who}", again)


def _misconfigured(facts: Facts, last: Attempt | None, said: str) -> Finding:
    account = facts.account
    reason = account.reason or ""
    if reason in {"invalid_client", "client_refused", "unauthorized_client"}:
        return Finding(
            "client_refused",
            f"The provider refuses the client, not the grant: {words_of(reason)}{said} The client secret was probably "
            "replaced, or has ended.",
            f"`refreshd accounts edit {account.id} client_secret=@FILE`; it is refreshed again at once.",
        )
    if reason in {"html_page", "no_token_endpoint", "redirected"}:
        status = f" (HTTP {last.http_status})" if last and last.http_status else ""
        return Finding(
            "wrong_token_url",
            f"What answers is no token endpoint{status}: {words_of(reason)}{said}",
            EDIT_URL.format(account.id),
        )
    return Finding(
        "misconfigured",
        f"The refresh can't work as it is configured: {words_of(reason)}{said}",
        f"`refreshd accounts show {account.id}` and `refreshd providers show {account.provider}` say what is sent.",
    )


def provider_budget(facts: Facts) -> Iterator[Finding]:
    """Say what keeps every account of the provider waiting."""
    if facts.redis is None:
        return
    if facts.redis.breaker_open_s is not None:
        yield Finding(
            "breaker_open",
            f"The provider {facts.account.provider} is down for everybody: its breaker is open, a probe is made in "
            f"{facts.redis.breaker_open_s:.0f} s.",
            "Look at the provider's status page. Accounts come back by themselves, spread over its budget.",
        )
    if facts.redis.paused_s is not None:
        yield Finding(
            "provider_paused",
            f"The provider {facts.account.provider} asked for a pause; it ends in {facts.redis.paused_s:.0f} s.",
            "Nothing: it goes on by itself. If it comes back often, lower `requests_per_s` of the provider.",
        )


def last_call(attempts: Iterable[Attempt]) -> Attempt | None:
    """Give the latest attempt that asked the provider or the callback, None where there is none."""
    called = (one for one in attempts if one.closed_at is not None and one.outcome in _CALLED)
    return next(called, None)
