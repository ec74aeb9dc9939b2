"""What is wrong with an account, most likely first. Pure: facts in, findings out.

The rules are in the order in which they explain a symptom best: what keeps every account from being refreshed,
then what keeps this one, then what its provider says, then what lies between the token and the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from models.account_state import RefreshMethod, SessionManagement, Status
from models.providers import GrantType
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.callback import callback_says
from worker.diagnostics.explain.rules.claims import claims
from worker.diagnostics.explain.rules.client import named_client
from worker.diagnostics.explain.rules.clock import clock, process_clocks, set_back
from worker.diagnostics.explain.rules.dpop import key_error, possession
from worker.diagnostics.explain.rules.fleet import beat, no_worker, queue_full, stores, waiting
from worker.diagnostics.explain.rules.gate import held_by_a_gate
from worker.diagnostics.explain.rules.grant import authorize
from worker.diagnostics.explain.rules.keys import keys
from worker.diagnostics.explain.rules.pause import paused
from worker.diagnostics.explain.rules.provider import (
    EDIT_URL,
    last_call,
    provider_says,
)
from worker.diagnostics.explain.rules.reader import another_redis, elsewhere, had_lost, published, rejected
from worker.diagnostics.explain.rules.registration import metadata, registration
from worker.diagnostics.explain.rules.token import implausible_life, shortest_life_s, untried
from worker.diagnostics.explain.rules.twins import twins
from worker.policy.reasons.correction import PROVIDER_KNOBS_UNFIT, REQUEST_IMPOSSIBLE
from worker.policy.reasons.login import NO_GRANT_YET

#: A hard end of the refresh token is a finding so long before.
_ENDS_SOON_S: Final = 7 * 86_400.0


def diagnose(facts: Facts) -> list[Finding]:
    """Return everything that is wrong, most likely first, then what is worth knowing."""
    found = [finding for rule in _RULES for finding in rule(facts)]
    wrong = any(one.wrong for one in found)
    held = bool(found) and facts.gate_met is not None
    if not wrong and not held:  # that it waits, or is untried, is a finding only where no other one says more
        found += list(waiting(facts)) or ([] if found else list(untried(facts)))
    return sorted(found, key=lambda one: not one.wrong)


def _policy(facts: Facts) -> Iterator[Finding]:
    account = facts.account
    if not account.refresh_enabled:
        yield Finding(
            "refresh_disabled",
            "Refreshing is switched off for this account: its token is used until it ends, and then there is none.",
            _enable(facts),
        )
    elif account.session_management == SessionManagement.NONE and facts.lacks_token:
        # A policy that was chosen is no fault while there is a token: the page names it under "Policy".
        yield Finding(
            "session_none",
            "Its session management is `none`: it is never refreshed by itself, only when a person forces it.",
            f"`refreshd accounts edit {account.id} session_management=auto`",
        )
    life_s = shortest_life_s(facts)
    if (
        account.session_management == SessionManagement.FIXED
        and life_s is not None
        and account.session_timeout_s >= life_s
    ):
        dead_s = account.session_timeout_s - life_s
        yield Finding(
            "fixed_timeout_longer_than_token",
            f"`fixed` refreshes it every {account.session_timeout_s:.0f} s, but the provider's tokens live "
            f"{life_s:.0f} s: in between lies a dead token, for up to {dead_s:.0f} s. Readers see 401 or 403 then.",
            f"`refreshd accounts edit {account.id} session_management=auto`, or session_timeout_s="
            f"{max(int(life_s * 0.9), 1)}.",
        )


def _enable(facts: Facts) -> str:
    enable = f"`refreshd accounts enable {facts.account.id}`"
    if _lacks_refresh_token(facts):
        return f"Store a refresh token first (it lacks one, and can't be enabled without), then {enable}."
    return enable


def _lacks_refresh_token(facts: Facts) -> bool:
    account, provider = facts.account, facts.provider
    return (
        provider is not None
        and provider.grant is GrantType.REFRESH_TOKEN
        and account.refresh_method != RefreshMethod.CALLBACK
        and account.refresh_token_sealed is None
    )


def _credentials(facts: Facts) -> Iterator[Finding]:
    account, provider = facts.account, facts.provider
    if provider is None:
        yield Finding(
            "provider_unknown",
            f"The provider {account.provider!r} is described nowhere, and the account gives no token_url.",
            f"`refreshd accounts edit {account.id} token_url=https://...`, or correct the provider's name "
            "(`refreshd providers list`).",
        )
    elif facts.knobs_error:
        yield Finding(
            PROVIDER_KNOBS_UNFIT,
            f"Nothing can be sent: {facts.knobs_error}.",
            f"`refreshd accounts edit {account.id} KNOB=VALUE`, or mend the entry of {account.provider!r} in "
            "REFRESHD_PROVIDERS_FILE and restart the workers.",
        )
    elif facts.url_error and _was_impossible(facts) and not key_error(facts):
        yield Finding(
            "token_url_refused",
            f"The request can't be sent: {facts.url_error}.",
            EDIT_URL.format(account.id),
        )
    if account.reason != NO_GRANT_YET and _lacks_refresh_token(facts):
        yield Finding(
            "refresh_token_never_issued",
            "There is no refresh token: the provider issued none, or it was not imported.",
            "Ask for offline access when the grant is made (scope `offline_access`, access_type=offline, or as the "
            "provider calls it), and import both tokens.",
        )


def _scope_sent(facts: Facts) -> Iterator[Finding]:
    """Return what a scope in a refresh can cost; a provider's own entry that sends one knows why."""
    account, provider = facts.account, facts.provider
    asks = provider is not None and provider.send_scope and provider.grant is GrantType.REFRESH_TOKEN
    if asks and account.scope and "send_scope" in account.knobs:
        yield Finding(
            "scope_sent",
            f"Each refresh names the scope {account.scope!r} (`send_scope`). At many servers a refresh that names less than "
            "was granted narrows the grant for good.",
            f"Unless the provider asks for it: `refreshd accounts edit {account.id} send_scope=false`.",
            wrong=False,
        )


def _hard_end(facts: Facts) -> Iterator[Finding]:
    """Return when the refresh token ends: no refresh is possible from then on."""
    ends_at = facts.account.refresh_token_expires_at
    if ends_at is None or facts.account.refresh_token_sealed is None or ends_at > facts.now + _ENDS_SOON_S:
        return
    again = f"Have its owner log in again before then: {authorize(facts)}."
    if ends_at > facts.now:
        left = f"{(ends_at - facts.now) / 3600:.0f} h"
        yield Finding("refresh_token_ends_soon", f"Its refresh token ends in {left}.", again, wrong=False)
    else:
        yield Finding(
            "refresh_token_ended",
            f"Its refresh token ended {(facts.now - ends_at) / 3600:.0f} h ago, as the provider had announced.",
            again.replace(" before then", ""),
        )


def _certificate(facts: Facts) -> Iterator[Finding]:
    """Return when the client's certificate ends; where the provider refused it already, `client_refused` says so."""
    ends_at = facts.certificate_ends_at
    if ends_at is None or facts.account.status == Status.MISCONFIGURED or ends_at > facts.now + _ENDS_SOON_S:
        return
    hours = (ends_at - facts.now) / 3600
    when = f"ends in {hours:.0f} h" if hours > 0 else f"ended {-hours:.0f} h ago"
    yield Finding(
        "client_certificate_ends",
        f"Its client certificate {when}: the provider refuses the client from then on.",
        f"`refreshd accounts edit {facts.account.id} custom_fields.client_certificate=@FILE "
        "custom_fields.client_key=@FILE`.",
        wrong=hours <= 0,
    )


def _was_impossible(facts: Facts) -> bool:
    """Return whether a worker could not send it either: a worker's settings are not this shell's."""
    last = last_call(facts.attempts)
    return last is None or last.reason == REQUEST_IMPOSSIBLE


_RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    stores,
    another_redis,
    set_back,
    process_clocks,
    keys,
    _policy,
    paused,
    no_worker,
    callback_says,
    _credentials,
    named_client,
    registration,
    metadata,
    _hard_end,
    twins,
    possession,
    _certificate,
    provider_says,
    beat,
    held_by_a_gate,
    _scope_sent,
    implausible_life,
    claims,
    published,
    elsewhere,
    had_lost,
    rejected,
    queue_full,
    clock,
)
