"""`refreshd explain`: one account, as a good colleague would explain it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from models.account import SessionManagement
from models.attempt import Attempt
from worker.cli.facts import gather
from worker.cli.history import line_of
from worker.cli.output import ago_or_in, duration, out, print_json, stores
from worker.policy.diagnosis import diagnose
from worker.policy.due import due, session_policy, token_times
from worker.policy.facts import Facts, Finding

_LATELY = 5
_DUE_WORDS = {
    "refresh_disabled": "refreshing is switched off",
    "session_none": "session management `none` plans nothing",
    "session_timeout": "its session timeout counts from when the token was issued",
    "before_expiry": "a margin before the token ends",
    "session_timeout_stands_in_for_expires_in": "the provider names no lifetime, so the session timeout stands in for it",
    "in_the_providers_refresh_window": "the provider accepts a refresh only shortly before the end",
    "no_access_token_yet": "there is no access token yet",
    "issue_time_unknown": "nobody knows when the token was issued",
    "before_the_refresh_token_ends_by_idling": "a refresh token that is not used would end",
    "ahead_of_a_crowd": "more accounts come due than the provider takes, so some are begun early",
    "before_the_refresh_token_ends": "the refresh token has a hard end",
}


def explain(
    account: Annotated[str, typer.Argument(help="The account's id.", metavar="ACCOUNT")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain an account: is its token good, when is it refreshed and why then, what is wrong and what to do.

    Exits with 1 where something is wrong.
    """
    facts = gather(stores(), account)
    findings = diagnose(facts)
    if as_json:
        print_json(_as_json(facts, findings))
    else:
        out.print(_page(facts, findings))
    if any(finding.wrong for finding in findings):
        raise typer.Exit(1)


def token_words(facts: Facts) -> str:
    """Say whether the token is good right now, and until when."""
    account = facts.account
    if account.access_token_sealed is None:
        return "There is no access token."
    if account.expires_at is None:
        return f"The token (generation {account.generation}) has no known end."
    word = "ended" if account.expires_at <= facts.now else "is good; it ends"
    return (
        f"The token (generation {account.generation}) {word} {ago_or_in(account.expires_at, now=facts.now)}."
    )


def policy_words(facts: Facts) -> str:
    """Say what the policy is, when the next refresh is due, and why then."""
    account = facts.account
    timeout = (
        f" with a session timeout of {duration(account.session_timeout_s)}"
        if account.session_management == SessionManagement.FIXED
        else ""
    )
    policy = f"Session management is `{account.session_management}`{timeout}."
    if account.next_refresh_at is None:
        why = _DUE_WORDS.get(account.due_reason, account.reason or account.due_reason)
        return f"{policy} No refresh is planned: {why}."
    when = ago_or_in(account.next_refresh_at, now=facts.now)
    return f"{policy} The next refresh is due {when}: {_due_why(facts)}."


def _due_why(facts: Facts) -> str:
    account = facts.account
    if account.due_reason in _DUE_WORDS:
        return _DUE_WORDS[account.due_reason]
    if facts.provider is not None:
        policy = due(
            session_policy(account, facts.provider),
            token_times(account),
            jitter=account.jitter,
            now=facts.now,
        )
        if policy.at == account.next_refresh_at:
            return _DUE_WORDS.get(policy.reason, policy.reason)
    return f"the last try failed ({account.due_reason})"


def _page(facts: Facts, findings: list[Finding]) -> RenderableType:
    account = facts.account
    parts: list[RenderableType] = [
        Text.assemble(
            (account.id, "bold"),
            f"  {account.provider}, {account.refresh_method}, status ",
            (account.status, "bold"),
        ),
        Text(),
        Text(token_words(facts)),
        Text(policy_words(facts)),
    ]
    if facts.attempts:
        parts += [Text(), Text("Lately", style="bold")]
        parts += [Padding(line_of(one, now=facts.now), (0, 0, 0, 2)) for one in facts.attempts[:_LATELY]]
    else:
        parts += [Text(), Text("Its history is empty: nothing was ever tried, and nobody asked.")]
    wrong = [finding for finding in findings if finding.wrong]
    parts += [
        Text(),
        Text("What is wrong" if wrong else "Nothing is wrong that refreshd can see", style="bold"),
    ]
    parts += [_finding(nth, finding) for nth, finding in enumerate(findings, start=1)]
    if not wrong:
        parts.append(_compare(facts))
    return Stack(*parts)


def _finding(nth: int, finding: Finding) -> RenderableType:
    style = "red" if finding.wrong else "yellow"
    return Padding(
        Stack(
            Text.assemble((f"{nth}. ", style), finding.words),
            Text.assemble("   -> ", (finding.remedy, "cyan")),
        ),
        (0, 0, 0, 2),
    )


def _compare(facts: Facts) -> RenderableType:
    """A reader that gets no token, or an old one, looks elsewhere: say what to compare."""
    if facts.redis is None:
        return Text()
    key = f"{facts.redis.prefix}token:{{{facts.account.id}}}"
    return Padding(
        Text(
            f"A connector that still gets 401 or 403 may read elsewhere. Compare with its configuration:\n"
            f"Redis {facts.redis.where}, key {key}, generation {facts.redis.token_generation}.\n"
            "An API that refuses a fresh token misses a permission (403), which no refresh mends: have the connector\n"
            "report it (`report_rejected`), and this page says so."
        ),
        (0, 0, 0, 2),
    )


def _as_json(facts: Facts, findings: list[Finding]) -> dict[str, Any]:
    account = facts.account
    return {
        "account": account.id,
        "status": account.status,
        "reason": account.reason,
        "generation": account.generation,
        "expires_at": account.expires_at,
        "next_refresh_at": account.next_refresh_at,
        "due_reason": account.due_reason,
        "token": token_words(facts),
        "policy": policy_words(facts),
        "scope": account.scope,
        "redis": None if facts.redis is None else json.loads(json.dumps(asdict(facts.redis), default=str)),
        "lately": [_brief(one) for one in facts.attempts[:_LATELY]],
        "findings": [asdict(finding) for finding in findings],
    }


def _brief(attempt: Attempt) -> dict[str, Any]:
    return {
        "opened_at": attempt.opened_at,
        "trigger": attempt.trigger,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "http_status": attempt.http_status,
    }
