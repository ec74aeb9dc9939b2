"""`refreshd explain`: one account, as a good colleague would explain it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from models.attempt import Attempt
from worker.cli.explain.text import LATELY, compare_words, page, policy_words, token_words
from worker.cli.terminal.console import out, print_json
from worker.cli.terminal.context import stores
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.gather import gather
from worker.diagnostics.explain.rules import diagnose


def explain(
    account: Annotated[str, typer.Argument(help="The account's id.", metavar="ACCOUNT")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Reads the database, Redis and the running workers. Exits with 1 if something is wrong."""
    facts = gather(stores(), account)
    findings = diagnose(facts)
    if as_json:
        print_json(as_object(facts, findings))
    else:
        out.print(page(facts, findings))
    if any(finding.wrong for finding in findings):
        raise typer.Exit(1)


def as_object(facts: Facts, findings: list[Finding]) -> dict[str, Any]:
    """Return the page for scripts."""
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
        "redis": None if facts.redis is None else asdict(facts.redis),
        "compare": compare_words(facts),
        "lately": [_brief(one) for one in facts.attempts[:LATELY]],
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
