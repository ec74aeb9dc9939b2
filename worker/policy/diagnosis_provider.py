"""What a provider's answers say about an account. Pure; `diagnosis.py` puts it in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

from models.account import Account, RefreshMethod, Status
from models.attempt import INTERRUPTED, Attempt, Outcome, Trigger
from models.budget import is_of_host
from models.provider import ClientAuth
from worker.policy.diagnosis_token import next_try, since_when
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
#: How a callback fails; `diagnosis_callback` says it.
_TOLD_OF_THE_CALLBACK: Final = frozenset({"callback_failed", "timed_out"})
EDIT_URL: Final = "Compare the token URL with the provider's documentation: `refreshd accounts edit {} token_url=https://...`"


def provider_says(facts: Facts) -> Iterator[Finding]:
    """Say what the last answers mean for the account."""
    account = facts.account
    # A test is no refresh: it left the account's status as it was, and is told beside the history.
    last = last_call(one for one in facts.attempts if one.trigger != Trigger.TEST)
    said = _said(account, last)
    if account.status == Status.REAUTHORIZE:
        yield _revoked(facts, said)
    elif account.status == Status.MISCONFIGURED:
        if found := _misconfigured(facts, last, said):
            yield found
    elif last and last.outcome == Outcome.RATE_LIMITED:
        yield Finding(
            "rate_limited",
            f"The provider asked to be left alone ({words_of(last.reason or '')}).{said} {_meanwhile(facts)}",
            "Nothing: it is tried again by itself. If it lasts, lower `requests_per_s` of the provider."
            if not facts.lacks_token
            else f"It is tried again by itself; `refreshd refresh {account.id} --force --wait` asks now. If it lasts, lower "
            "`requests_per_s` of the provider.",
            wrong=facts.is_wanting,
        )
    elif last and last.outcome == Outcome.RETRY and last.reason not in {INTERRUPTED, NONCE_WANTED}:
        if account.refresh_method == RefreshMethod.CALLBACK and last.reason in _TOLD_OF_THE_CALLBACK:
            return
        if facts.redis is not None and facts.redis.breaker_open_s is not None:
            return  # `provider_budget` says it, of everybody
        tries = f"The last {account.failures} tries" if account.failures > 1 else "The last try"
        yield Finding(
            "provider_failing",
            f"{tries} failed: {words_of(last.reason or '')}{said} {_meanwhile(facts)}",
            "It is tried again by itself, with growing pauses. "
            f"`refreshd history {account.id}` shows each try as it was answered.",
            wrong=facts.is_wanting,
        )


def _said(account: Account, last: Attempt | None) -> str:
    """Give the provider's own words, or the callback's, whose error code stands in no table."""
    if last is None:
        return ""
    code = (
        last.error if account.refresh_method == RefreshMethod.CALLBACK and last.error != last.reason else None
    )
    words = ": ".join(part for part in (code, (last.error_description or "").rstrip(".")) if part)
    return f' It said: "{words}".' if words else ""


def _meanwhile(facts: Facts) -> str:
    """Say since when there is no token, if so, and when the next try is due."""
    return f"{since_when(facts)} {next_try(facts)}".strip()


def _revoked(facts: Facts, said: str) -> Finding:
    account, attempts = facts.account, facts.attempts
    again = (
        f"Have its owner log in again: `refreshd accounts authorize {account.id}`; or import new tokens: "
        f"`refreshd accounts edit {account.id} refresh_token=@FILE`."
    )
    since = list(takewhile(lambda one: one.outcome != Outcome.REFRESHED, attempts))
    if any(one.reason == INTERRUPTED for one in since):
        return Finding(
            "refresh_token_spent_by_a_lost_answer",
            "A worker died between the provider's answer and the commit; the provider had replaced the refresh token by "
            f"then, and refused the old one.{said}",
            again,
        )
    if len(since) == len(attempts) and account.generation <= 1:
        return Finding(
            "refresh_token_rotated_by_somebody_else",
            "The refresh token was refused at its very first use here: it was already used or revoked. Another "
            f"program probably refreshes the same grant.{said}",
            f"Stop the other program first. {again}",
        )
    if account.refresh_method == RefreshMethod.CALLBACK:
        return Finding(
            "grant_revoked",
            f"The callback {account.callback!r} returned an errorResponse that ends the grant ({account.reason}).{said}",
            f"{again} If the grant is alive, the callback says so wrongly: "
            f"`refreshd callbacks test {account.callback} --account {account.id}`.",
        )
    rotates = facts.provider is not None and facts.provider.rotates
    who = (
        " Or another program used the refresh token: this provider replaces it at each use."
        if rotates
        else ""
    )
    return Finding("grant_revoked", f"The provider ended the grant ({account.reason}).{said}{who}", again)


def _misconfigured(facts: Facts, last: Attempt | None, said: str) -> Finding | None:
    account = facts.account
    reason = account.reason or ""
    if reason in {"invalid_client", "client_refused", "unauthorized_client", "client_certificate_refused"}:
        return _client_refused(facts, reason, said)
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


def _who_answers(facts: Facts) -> str:
    """Say how to see what a worker sees: a proxy or a firewall answers in the provider's place."""
    url = facts.account.token_url or (facts.provider.token_url if facts.provider else None)
    if facts.account.refresh_method == RefreshMethod.CALLBACK or not url or "${" in url:
        return ""
    return f" On a worker's machine, `curl -i -X POST {url.partition('?')[0]}` shows whether it is the provider that answers."


def _client_refused(facts: Facts, reason: str, said: str) -> Finding:
    account = facts.account
    auth = account.client_auth or (facts.provider.client_auth if facts.provider else ClientAuth.BODY)
    match auth:
        case ClientAuth.PRIVATE_KEY_JWT:
            why = "Probably its private key is not, or no longer, registered there."
            fields = "custom_fields.private_key=@FILE"
        case ClientAuth.MTLS:
            why = _of_certificate(facts)
            fields = "custom_fields.client_certificate=@FILE custom_fields.client_key=@FILE"
        case _:
            why = "Probably its client secret was replaced, or has ended."
            fields = "client_secret=@FILE"
    return Finding(
        "client_refused",
        f"The provider refuses the client, not the grant: {words_of(reason)}{said} {why}",
        f"`refreshd accounts edit {account.id} {fields}`; it is refreshed again at once.",
    )


def _of_certificate(facts: Facts) -> str:
    ends_at = facts.certificate_ends_at
    if ends_at is None:
        return "Probably its client certificate has ended, or is not registered there."
    days = abs(ends_at - facts.now) / 86_400
    if ends_at <= facts.now:
        return f"Its client certificate ended {days:.1f} days ago."
    return f"Its client certificate holds for {days:.1f} days more: probably it is not registered there."


def provider_budget(facts: Facts) -> Iterator[Finding]:
    """Say what keeps every account of the provider waiting; wrong is what leaves this one without a token."""
    account, redis = facts.account, facts.redis
    if redis is None or account.next_refresh_at is None:
        return
    wrong = facts.is_wanting
    if redis.breaker_open_s is not None:
        yield Finding(
            "breaker_open",
            f"{_who(facts)} is down for everybody: its breaker is open, a probe is made in "
            f"{duration(redis.breaker_open_s)}.{_last_answer(facts)}",
            "Look at the provider's status page. Accounts come back by themselves, spread over its budget."
            if account.refresh_method != RefreshMethod.CALLBACK
            else "See why: `refreshd callbacks test "
            f"{account.callback} --account {account.id}`. Accounts come back by themselves.",
            wrong=wrong,
        )
    if redis.paused_s is not None and account.next_refresh_at <= facts.now + redis.paused_s:
        yield Finding(
            "provider_paused",
            f"{_who(facts)} asked for a pause; it ends in {duration(redis.paused_s)}.",
            "Nothing: it goes on by itself. If it comes back often, lower `requests_per_s` of the provider.",
            wrong=wrong,
        )


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
