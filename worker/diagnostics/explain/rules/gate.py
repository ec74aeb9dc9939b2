"""Findings about a closed gate. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from models.account_state import RefreshMethod
from models.rate_limit import WaitReason
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.provider import is_rate_limited, resolver
from worker.diagnostics.explain.rules.token import since_when
from worker.policy.gates import Gate
from worker.policy.reasons.passing import DNS_FAILED

_CODES = {
    WaitReason.DOWN: "breaker_open",
    WaitReason.REFUSED: "client_gate_closed",
    WaitReason.THROTTLED: "provider_paused",
}


def held_by_a_gate(facts: Facts) -> Iterator[Finding]:
    """Yield the closed gate that the account meets: wrong is what leaves it without a token."""
    account, found = facts.account, facts.gate_met
    if found is None:
        return
    cause = found.gate.cause or WaitReason.DOWN
    if cause is WaitReason.THROTTLED and is_rate_limited(facts):
        return  # `provider_says` says it, with the provider's words
    yield Finding(
        _CODES[cause],
        f"{found.words_for(account.id)} {since_when(facts)}".strip(),
        _remedy(facts, cause, found.gate),
        wrong=facts.is_wanting,
    )


def _remedy(facts: Facts, cause: WaitReason, gate: Gate) -> str:
    account, by = facts.account, gate.by
    force = f"`refreshd refresh {account.id} --force` tries this account at once, whatever the gate does."
    if cause is WaitReason.THROTTLED:
        return f"{force} If it comes back often, lower `requests_per_s` of the provider."
    if cause is WaitReason.REFUSED:
        look = f": `refreshd explain {by}` tells what it said" if by else ""
        return f"Compare the client's secret with the provider's{look}. {force}"
    if account.refresh_method == RefreshMethod.CALLBACK:
        return f"See why: `refreshd callbacks test {account.callback} --account {account.id}`. {force}"
    if gate.reason == DNS_FAILED:
        return f"{resolver(facts)} {force}"
    look = f"See what it answers: `refreshd history {by}`. " if by else ""
    return f"{look}Accounts come back by themselves, soonest to end first. {force}"
