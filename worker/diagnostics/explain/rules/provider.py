"""Findings about a provider's answers. Pure; `rules/__init__.py` orders them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from models.account_state import RefreshMethod, Status
from models.outcome import INTERRUPTED, Outcome, Trigger
from models.rate_limit import WaitReason
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.client import OF_THE_CLIENT, client_id_missing, client_refused
from worker.diagnostics.explain.rules.grant import probably_dead, refused, to_be_confirmed
from worker.diagnostics.explain.rules.token import next_try, since_when
from worker.policy.reasons import message_of
from worker.policy.reasons.correction import (
    ACCESS_RESTRICTED,
    CALLBACK_UNKNOWN,
    DPOP_KEY_MISMATCH,
    DPOP_KEY_UNFIT,
    HTML_PAGE,
    INVALID_DPOP_PROOF,
    KEY_MISSING,
    NO_TOKEN_ENDPOINT,
    PROVIDER_KNOBS_UNFIT,
    REDIRECTED,
    SEAL_BROKEN,
)
from worker.policy.reasons.login import PROBABLY_DEAD, TO_BE_CONFIRMED
from worker.policy.reasons.passing import (
    CALLBACK_FAILED,
    CONNECTION_FAILED,
    DNS_FAILED,
    DPOP_NONCE_REQUIRED,
    PAGE_INSTEAD_OF_ANSWER,
    TIMED_OUT,
    TLS_FAILED,
)

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account
    from models.tables.attempt import Attempt

_CALLED: Final = frozenset(
    {Outcome.REFRESHED, Outcome.RETRY, Outcome.RATE_LIMITED, Outcome.REAUTHORIZE, Outcome.MISCONFIGURED}
)
#: Why a worker could not open a secret; `rules/__init__.py` explains it.
NOT_OPENED: Final = frozenset({KEY_MISSING, SEAL_BROKEN})
#: How a callback fails; the rules of callbacks explain it.
_OF_THE_CALLBACK: Final = frozenset({CALLBACK_FAILED, TIMED_OUT})
#: No provider has spoken: what is known is what this end saw.
_UNANSWERED: Final = frozenset({CONNECTION_FAILED, DNS_FAILED, TLS_FAILED})
#: What answers is no token endpoint.
_NO_ENDPOINT: Final = frozenset({HTML_PAGE, NO_TOKEN_ENDPOINT, REDIRECTED})
EDIT_URL: Final = "Compare the token URL with the provider's documentation: `refreshd accounts edit {} token_url=https://...`"


def provider_says(facts: Facts) -> Iterator[Finding]:
    """Return what the last answers mean for the account."""
    account, last = facts.account, _last_refresh(facts)
    said = _said(account, last)
    if _is_refused(account):
        if found := _refused(facts, last, said):
            yield found
    elif last and is_rate_limited(facts):
        met = facts.gate_met
        gate = f" {met.words_for(account.id)}" if met and met.gate.cause is WaitReason.THROTTLED else ""
        yield Finding(
            "rate_limited",
            f"The provider asked to be left alone ({message_of(last.reason or '')}).{said}{gate} {_meanwhile(facts)}",
            "Nothing: it is tried again by itself. If it lasts, lower `requests_per_s` of the provider."
            if not facts.lacks_token
            else f"It is tried again by itself; `refreshd refresh {account.id} --force --wait` asks now. If it lasts, lower "
            "`requests_per_s` of the provider.",
            wrong=facts.is_wanting,
        )
    elif last and last.outcome == Outcome.RETRY and last.reason not in {INTERRUPTED, DPOP_NONCE_REQUIRED}:
        if account.refresh_method == RefreshMethod.CALLBACK and last.reason in _OF_THE_CALLBACK:
            return
        if facts.gate is not None and facts.gate.holds and facts.gate.gate.cause is WaitReason.DOWN:
            return  # `held_by_a_gate` says it, of everybody
        if account.refresh_method == RefreshMethod.CALLBACK and account.callback is not None:
            yield _callback_failing(facts, account.callback, last, said)
            return
        tries = f"The last {account.failures} tries" if account.failures > 1 else "The last try"
        yield Finding(
            "provider_failing",
            f"{tries} failed: {message_of(last.reason or '')}{said} {_meanwhile(facts)}",
            f"It is tried again by itself, with growing pauses. {_look_at(facts, last)}",
            wrong=facts.is_wanting,
        )


def _callback_failing(facts: Facts, callback: str, last: Attempt, said: str) -> Finding:
    """Return that what a callback returned, or met, ended no try with a token."""
    account = facts.account
    times = f" {account.failures} times in a row" if account.failures > 1 else ""
    what = "returned an errorResponse" if last.error else "brought no token"
    why = "" if last.error and said else f": {message_of(last.reason or '')}"
    return Finding(
        "callback_refuses",
        f"The callback {callback!r} {what}{times}{why or '.'}{said} {_meanwhile(facts)}",
        f"It is tried again by itself, with growing pauses. `refreshd callbacks test {callback} --account {account.id}` runs it "
        "now and shows what it returns.",
        wrong=facts.is_wanting,
    )


def _said(account: Account, last: Attempt | None) -> str:
    """Return the provider's own words, or the callback's, whose error code stands in no table."""
    if last is None:
        return ""
    code = (
        last.error if account.refresh_method == RefreshMethod.CALLBACK and last.error != last.reason else None
    )
    words = ": ".join(part for part in (code, (last.error_description or "").rstrip(".")) if part)
    if not words:
        return ""
    spoke = last.http_status is not None or last.reason not in _UNANSWERED
    return f' It said: "{words}".' if spoke else f" In detail: {words}."


def is_rate_limited(facts: Facts) -> bool:
    """Return whether the last refresh of an account that is not refused was put off by its provider."""
    last = _last_refresh(facts)
    return last is not None and last.outcome == Outcome.RATE_LIMITED and not _is_refused(facts.account)


def _is_refused(account: Account) -> bool:
    refused_by_reason = account.reason in {TO_BE_CONFIRMED, PROBABLY_DEAD}
    return refused_by_reason or account.status in {Status.REAUTHORIZE, Status.MISCONFIGURED}


def _last_refresh(facts: Facts) -> Attempt | None:
    """Return the last call that was no test: a test left the account's status as it was."""
    return last_call(one for one in facts.attempts if one.trigger != Trigger.TEST)


def _meanwhile(facts: Facts) -> str:
    """Return since when there is no token, if so, and when the next try is due."""
    return f"{since_when(facts)} {next_try(facts)}".strip()


def _refused(facts: Facts, last: Attempt | None, said: str) -> Finding | None:
    account = facts.account
    if account.status == Status.REAUTHORIZE:
        # `twins.py` names which account spent a refresh token that two accounts have.
        return None if facts.twins else refused(facts, said)
    if account.reason == TO_BE_CONFIRMED:
        return to_be_confirmed(facts, said)
    if account.reason == PROBABLY_DEAD:
        return probably_dead(facts, last, said)
    return _misconfigured(facts, last, said)


def _misconfigured(facts: Facts, last: Attempt | None, said: str) -> Finding | None:
    account = facts.account
    reason = account.reason or ""
    if found := client_id_missing(facts, last, said):
        return found
    if reason in OF_THE_CLIENT:
        return client_refused(facts, reason, said)
    if reason == ACCESS_RESTRICTED:
        return Finding(
            "access_restricted",
            f"{message_of(reason)}{said} It is tried on, slowly: no login of its owner would help.",
            "Have an administrator there allow the address that your workers call from, or the hours, for the grant's owner; "
            f"then `refreshd refresh {account.id} --force --wait`.",
        )
    if reason in _NO_ENDPOINT:
        status = f" (HTTP {last.http_status})" if last and last.http_status else ""
        return Finding(
            "wrong_token_url",
            f"What answers is no token endpoint{status}: {message_of(reason)}{said}",
            f"{EDIT_URL.format(account.id)}.{_who_answers(facts)}",
        )
    if reason == CALLBACK_UNKNOWN:
        if not any(account.callback in names for names in facts.callbacks.values()):
            return None  # the rules of callbacks explain it
        of = f" ({last.worker})" if last and last.worker else ""
        return Finding(
            "callback_was_unknown",
            f"At its last try the worker that took it{of} did not know the callback {account.callback!r}; one does now.",
            f"It is tried again by itself; `refreshd refresh {account.id} --force --wait` does so now.",
        )
    if reason in NOT_OPENED | {DPOP_KEY_UNFIT, DPOP_KEY_MISMATCH, INVALID_DPOP_PROOF} or (
        reason == PROVIDER_KNOBS_UNFIT and facts.knobs_error
    ):
        return None
    return Finding(
        "misconfigured",
        f"The refresh can't work as it is configured: {message_of(reason)}{said}",
        f"`refreshd accounts show {account.id}` and `refreshd providers show {account.provider}` say what is sent.",
    )


def _look_at(facts: Facts, last: Attempt) -> str:
    """Return where to look for what made the last try fail."""
    if last.reason == DNS_FAILED:
        return resolver(facts)
    shown = f"`refreshd history {facts.account.id}` shows each try as it was answered."
    return f"{shown}{_who_answers(facts)}" if last.reason == PAGE_INSTEAD_OF_ANSWER else shown


def resolver(facts: Facts) -> str:
    """Return how to see what a worker's resolver makes of the provider's name: the provider has heard nothing yet."""
    url = facts.account.token_url or (facts.provider.token_url if facts.provider else None)
    host = None if not url or "${" in url else urlsplit(url).hostname
    return (
        f"The name is resolved where the workers run: `getent hosts {host or 'HOST'}` there; then the resolver, or the name in "
        "the token URL."
    )


def _who_answers(facts: Facts) -> str:
    """Return how to see what a worker sees: a proxy or a firewall answers in the provider's place."""
    url = facts.account.token_url or (facts.provider.token_url if facts.provider else None)
    if facts.account.refresh_method == RefreshMethod.CALLBACK or not url or "${" in url:
        return ""
    return f" On a worker's machine, `curl -i -X POST {url.partition('?')[0]}` shows whether it is the provider that answers."


def last_call(attempts: Iterable[Attempt]) -> Attempt | None:
    """Return the latest attempt that asked the provider or the callback, None where there is none."""
    called = (one for one in attempts if one.closed_at is not None and one.outcome in _CALLED)
    return next(called, None)
