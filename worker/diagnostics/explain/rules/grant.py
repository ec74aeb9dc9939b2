"""Findings about a refused grant: the cause, as far as it is known, and what helps. Pure."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from models.account_state import RefreshMethod, Status
from models.outcome import INTERRUPTED, Outcome
from models.providers import WITH_CONSENT
from worker.diagnostics.explain.facts import Facts, Finding
from worker.durations import duration
from worker.policy.reasons.login import INVALID_GRANT, NO_GRANT_YET, PROBABLY_DEAD, TO_BE_CONFIRMED
from worker.policy.verdicts.causes import Cause, cause_of

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt


def refused(facts: Facts, said: str) -> Finding:
    """Return what is wrong with a grant that the provider ended. Its own words decide, then the history."""
    account, attempts = facts.account, facts.attempts
    if account.reason == NO_GRANT_YET:
        return Finding(
            NO_GRANT_YET,
            NO_GRANT_YET.message,
            "have its owner consent: a Connect session, or the platform's own; or `refreshd accounts authorize "
            f"{account.id}`",
        )
    again = _again(facts)
    since = list(takewhile(lambda one: one.outcome != Outcome.REFRESHED, attempts))
    if any(one.reason == INTERRUPTED for one in since):
        return Finding(
            "refresh_token_spent_by_a_lost_answer",
            "A worker died between the provider's answer and the commit; the provider had replaced the refresh token by "
            f"then, and refused the old one.{said}",
            again,
        )
    cause = _cause(since)
    if cause is Cause.USED_BEFORE:
        return _used_before(f"The provider says that the refresh token was used before.{said}", again)
    if cause is not None:
        return _ended(facts, cause, said, again)
    if len(since) == len(attempts) and account.generation <= 1:
        return _used_before(
            "The refresh token was refused at its very first use here, and the provider does not say why: it was used, "
            f"revoked or replaced before.{said}",
            again,
        )
    if account.refresh_method == RefreshMethod.CALLBACK:
        return Finding(
            "grant_revoked",
            f"The callback {account.callback!r} returned an errorResponse that ends the grant ({account.reason}).{said}",
            f"{again} If the grant is alive, the callback says so wrongly: "
            f"`refreshd callbacks test {account.callback} --account {account.id}`.",
        )
    rotates = None if facts.provider is None else facts.provider.rotates
    who = (
        " Or another program used the refresh token: this provider replaces it at each use."
        if rotates
        else ""
    )
    before = "" if rotates is False else _sent_before(since)
    return Finding(
        "grant_revoked", f"The provider ended the grant ({account.reason}).{said}{before or who}", again
    )


def to_be_confirmed(facts: Facts, said: str) -> Finding:
    """Return that one refusal is not the end yet."""
    account = facts.account
    at = account.next_refresh_at
    when = "" if at is None or at <= facts.now else f" in {duration(at - facts.now)}"
    return Finding(
        TO_BE_CONFIRMED,
        f"The provider refused the grant once.{said} A second try, which can cost nothing here, is made{when}, before its "
        "owner is asked to log in again.",
        f"Nothing yet; `refreshd refresh {account.id} --force --wait` asks now.",
        wrong=account.status != Status.ACTIVE,
    )


def probably_dead(facts: Facts, last: Attempt | None, said: str) -> Finding:
    """Return that a failure which does not end is a refusal."""
    account = facts.account
    status = f" (HTTP {last.http_status})" if last and last.http_status else ""
    return Finding(
        PROBABLY_DEAD,
        f"The grant is probably dead: the provider has answered {account.failures} tries in a row with a failure of its "
        f"own{status}, to this account and not to others.{said} It is tried on, with growing pauses.",
        f"{_again(facts)} If others of this provider fail as well, it is an outage: `refreshd status`.",
    )


def _cause(since: list[Attempt]) -> Cause | None:
    """Return what the latest refusal says of itself."""
    last = next((one for one in since if one.outcome == Outcome.REAUTHORIZE), None)
    return None if last is None else cause_of((last.error, last.error_description))


def _sent_before(since: list[Attempt]) -> str:
    """Return when the refused refresh token had been answered by something else: some servers spend it before they fail."""
    last = next((one for one in since if one.outcome == Outcome.REAUTHORIZE), None)
    if last is None:
        return ""
    for one in since[since.index(last) + 1 :]:
        answered = one.http_status is not None and one.generation == last.generation
        if answered and one.outcome in {Outcome.RETRY, Outcome.MISCONFIGURED}:
            what = f"HTTP {one.http_status}" + (f", {one.error}" if one.error else "")
            return (
                f" {duration(last.opened_at - one.opened_at)} before, the same refresh token was answered "
                f"otherwise ({what}): some servers spend it before they fail or refuse (docs/servers.md)."
            )
    return ""


def _used_before(words: str, again: str) -> Finding:
    return Finding(
        "refresh_token_rotated_by_somebody_else",
        f"{words} Another program probably refreshes the same grant: a second refreshd, a staging system, a script, the "
        "program that you came from.",
        f"Stop the other program first, or give each a grant of its own: the next grant would end the same way. Then: {again}",
    )


def _ended(facts: Facts, cause: Cause, said: str, again: str) -> Finding:
    account = facts.account
    by = (
        f"the callback {account.callback!r}"
        if account.refresh_method == RefreshMethod.CALLBACK
        else "the provider"
    )
    match cause:
        case Cause.PASSWORD_CHANGED:
            why = f"The grant's owner changed the password, as {by} says, which ended the grant."
        case Cause.EXPIRED:
            why = (
                f"The refresh token came to its end, as {by} says. Where that happens to many, set "
                "`refresh_token_idle_s` (how long it may stay unused) or `refresh_token_lifetime_s`: refreshd then uses it "
                "in time, or tells its end in advance."
            )
        case _:
            why = f"The grant was ended ({account.reason or INVALID_GRANT.message}), as {by} says."
    return Finding("grant_revoked", f"{why}{said}", again)


def _again(facts: Facts) -> str:
    account = facts.account
    return (
        f"Have its owner log in again: {authorize(facts)}; or import new tokens: "
        f"`refreshd accounts edit {account.id} refresh_token=@FILE`."
    )


def authorize(facts: Facts) -> str:
    """Return the command that asks the account's owner for consent, with what it lacks to be of use."""
    command = f"refreshd accounts authorize {facts.account.id}"
    provider = facts.provider
    if (
        provider is None
        or provider.authorize_url
        or provider.device_url
        or provider.grant not in WITH_CONSENT
    ):
        return f"`{command}`"
    return f"`{command} authorize_url=https://...` (the provider's page for that)"
