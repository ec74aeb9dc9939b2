"""What a provider's answers say about an account. Pure; `diagnosis.py` puts it in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from models.account import RefreshMethod, Status
from models.attempt import INTERRUPTED, Attempt, Outcome, Trigger
from models.budget import is_of_host
from worker.policy.confirmation import PROBABLY_DEAD, TO_BE_CONFIRMED
from worker.policy.diagnosis_client import CLIENT_REFUSED, client_id_missing, client_refused
from worker.policy.diagnosis_grant import probably_dead, refused, to_be_confirmed
from worker.policy.durations import duration
from worker.policy.facts import Facts, Finding
from worker.policy.verdict_words import words_of

_CALLED: Final = frozenset(
    {Outcome.REFRESHED, Outcome.RETRY, Outcome.RATE_LIMITED, Outcome.REAUTHORIZE, Outcome.MISCONFIGURED}
)
#: Why a worker could not open a secret; `diagnosis` says it.
NOT_OPENED: Final = frozenset({"key_missing", "seal_broken"})
#: What the account sets itself does not fit; `diagnosis` says it, where that is still so.
KNOBS_UNFIT: Final = "provider_knobs_unfit"
#: How a proof of possession fails; `diagnosis_dpop` says it.
KEY_UNFIT: Final = "dpop_key_unfit"
PROOF_REFUSED: Final = "invalid_dpop_proof"
NONCE_WANTED: Final = "dpop_nonce_required"
#: No connection was tried: nothing that the provider shows anywhere explains it.
DNS_FAILED: Final = "dns_failed"
#: How a callback fails; `diagnosis_callback` says it.
_TOLD_OF_THE_CALLBACK: Final = frozenset({"callback_failed", "timed_out"})
EDIT_URL: Final = "Compare the token URL with the provider's documentation: `refreshd accounts edit {} token_url=https://...`"


def provider_says(facts: Facts) -> Iterator[Finding]:
    """Say what the last answers mean for the account."""
    account = facts.account
    # A test is no refresh: it left the account's status as it was, and is told beside the history.
    last = last_call(one for one in facts.attempts if one.trigger != Trigger.TEST)
    said = f' It said: "{last.error_description.rstrip(".")}".' if last and last.error_description else ""
    if account.status == Status.REAUTHORIZE:
        yield refused(facts, said)
    elif account.reason == TO_BE_CONFIRMED:
        yield to_be_confirmed(facts, said)
    elif account.reason == PROBABLY_DEAD:
        yield probably_dead(facts, last, said)
    elif account.status == Status.MISCONFIGURED:
        if found := _misconfigured(facts, last, said):
            yield found
    elif last and last.outcome == Outcome.RATE_LIMITED and account.failures == 0:
        yield Finding(
            "rate_limited",
            f"The provider asked to be left alone ({words_of(last.reason or '')}).{said}",
            "Nothing: it is tried again by itself. If it lasts, lower `requests_per_s` of the provider.",
            wrong=account.status != Status.ACTIVE,
        )
    elif last and last.outcome == Outcome.RETRY and last.reason not in {INTERRUPTED, NONCE_WANTED}:
        if account.refresh_method == RefreshMethod.CALLBACK and last.reason in _TOLD_OF_THE_CALLBACK:
            return
        if facts.redis is not None and facts.redis.breaker_open_s is not None:
            return  # `provider_budget` says it, of everybody
        tries = f"The last {account.failures} tries" if account.failures > 1 else "The last try"
        yield Finding(
            "provider_failing",
            f"{tries} failed: {words_of(last.reason or '')}{said}",
            f"It is tried again by itself, with growing pauses. {_look_at(facts, last)}",
            wrong=account.status != Status.ACTIVE,
        )


def _misconfigured(facts: Facts, last: Attempt | None, said: str) -> Finding | None:
    account = facts.account
    reason = account.reason or ""
    if found := client_id_missing(facts, last, said):
        return found
    if reason in CLIENT_REFUSED:
        return client_refused(facts, reason, said)
    if reason == "access_restricted":
        return Finding(
            "access_restricted",
            f"{words_of(reason)}{said} It is tried on, slowly: no login of its owner would help.",
            "Have an administrator there allow the address that your workers call from, or the hours, for the grant's owner; "
            f"then `refreshd refresh {account.id} --force --wait`.",
        )
    if reason in {"html_page", "no_token_endpoint", "redirected"}:
        status = f" (HTTP {last.http_status})" if last and last.http_status else ""
        return Finding(
            "wrong_token_url",
            f"What answers is no token endpoint{status}: {words_of(reason)}{said}",
            f"{EDIT_URL.format(account.id)}.{_who_answers(facts)}",
        )
    if reason == "callback_unknown":
        if not any(account.callback in names for names in facts.callbacks.values()):
            return None  # `diagnosis_callback` says it
        of = f" ({last.worker})" if last and last.worker else ""
        return Finding(
            "callback_was_unknown",
            f"At its last try the worker that took it{of} did not know the callback {account.callback!r}; one does now.",
            f"It is tried again by itself; `refreshd refresh {account.id} --force --wait` does so now.",
        )
    if reason in NOT_OPENED | {KEY_UNFIT, PROOF_REFUSED} or (reason == KNOBS_UNFIT and facts.knobs_error):
        return None
    return Finding(
        "misconfigured",
        f"The refresh can't work as it is configured: {words_of(reason)}{said}",
        f"`refreshd accounts show {account.id}` and `refreshd providers show {account.provider}` say what is sent.",
    )


def _look_at(facts: Facts, last: Attempt) -> str:
    """Return where to look for what made the last try fail."""
    if last.reason == DNS_FAILED:
        return _resolver(facts)
    shown = f"`refreshd history {facts.account.id}` shows each try as it was answered."
    return f"{shown}{_who_answers(facts)}" if last.reason == "page_instead_of_answer" else shown


def _resolver(facts: Facts) -> str:
    """Return how to see what a worker's resolver makes of the provider's name: the provider has heard nothing yet."""
    url = facts.account.token_url or (facts.provider.token_url if facts.provider else None)
    host = None if not url or "${" in url else urlsplit(url).hostname
    return (
        f"The name is resolved where the workers run: `getent hosts {host or 'HOST'}` there; then the resolver, or the name in "
        "the token URL."
    )


def _who_answers(facts: Facts) -> str:
    """Say how to see what a worker sees: a proxy or a firewall answers in the provider's place."""
    url = facts.account.token_url or (facts.provider.token_url if facts.provider else None)
    if facts.account.refresh_method == RefreshMethod.CALLBACK or not url or "${" in url:
        return ""
    return f" On a worker's machine, `curl -i -X POST {url.partition('?')[0]}` shows whether it is the provider that answers."


def provider_budget(facts: Facts) -> Iterator[Finding]:
    """Say what keeps every account of the provider waiting; wrong is what leaves this one without a token."""
    account, redis = facts.account, facts.redis
    if redis is None or account.next_refresh_at is None:
        return
    ended = account.access_token_sealed is None or (
        account.expires_at is not None and account.expires_at <= facts.now
    )
    wrong = ended or account.status != Status.ACTIVE
    if redis.breaker_open_s is not None:
        yield Finding(
            "breaker_open",
            f"{_who(facts)} is down for everybody: its breaker is open, a probe is made in "
            f"{duration(redis.breaker_open_s)}.{_last_answer(facts)}",
            f"{_where_to_look(facts)} Accounts come back by themselves, spread over its budget.",
            wrong=wrong,
        )
    if redis.paused_s is not None and account.next_refresh_at <= facts.now + redis.paused_s:
        yield Finding(
            "provider_paused",
            f"{_who(facts)} asked for a pause; it ends in {duration(redis.paused_s)}.",
            "Nothing: it goes on by itself. If it comes back often, lower `requests_per_s` of the provider.",
            wrong=wrong,
        )


def _where_to_look(facts: Facts) -> str:
    account, last = facts.account, last_call(facts.attempts)
    if account.refresh_method == RefreshMethod.CALLBACK:
        return f"See why: `refreshd callbacks test {account.callback} --account {account.id}`."
    if last is not None and last.reason == DNS_FAILED:
        return _resolver(facts)
    return "Look at the provider's status page."


def _last_answer(facts: Facts) -> str:
    last = last_call(facts.attempts)
    if last is None or last.outcome != Outcome.RETRY:
        return ""
    status = f" (HTTP {last.http_status})" if last.http_status else ""
    return f" This account heard last: {words_of(last.reason or '').rstrip('.')}{status}."


def _who(facts: Facts) -> str:
    account = facts.account
    if account.refresh_method == RefreshMethod.CALLBACK:
        return f"The callback {account.callback!r}"
    budget = facts.redis.budget if facts.redis else ""
    if is_of_host(budget):
        return f"The host {budget.removeprefix(f'{account.provider}@')} of {account.provider}"
    return f"The provider {account.provider}"


def last_call(attempts: Iterable[Attempt]) -> Attempt | None:
    """Give the latest attempt that asked the provider or the callback, None where there is none."""
    called = (one for one in attempts if one.closed_at is not None and one.outcome in _CALLED)
    return next(called, None)
