"""Findings about a pause. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from refreshd_reader.contract import PAUSED
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.token import since_when
from worker.durations import duration


def paused(facts: Facts) -> Iterator[Finding]:
    """Yield each pause that holds the account; it is wrong if it costs the account its token."""
    for pause in facts.pauses:
        why = f": {pause.reason}" if pause.reason else ""
        end = "" if pause.until is None else f" It ends by itself in {duration(pause.until - facts.now)}."
        token = f" {words}" if (words := since_when(facts)) else ""
        yield Finding(
            PAUSED,
            f"Planned refreshes of {pause.what} were paused {duration(facts.now - pause.paused_at)} ago by "
            f"{pause.actor}@{pause.host}{why}.{end}{token}",
            f"`refreshd resume {pause.option}`; or refresh it once: `refreshd refresh {facts.account.id} --force`.",
            wrong=facts.lacks_token,
        )
