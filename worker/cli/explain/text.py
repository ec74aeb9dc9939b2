"""The page that `refreshd explain` prints."""

from __future__ import annotations

from typing import Final

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from models.account import RefreshMethod, Status
from worker.cli.history import line_of
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.words import LATELY, compare_words, policy_words, token_words

_STATUS_STYLES: Final[dict[str, str]] = {
    Status.ACTIVE: "bold green",
    Status.DEGRADED: "bold yellow",
    Status.DISABLED: "bold yellow",
}


def page(facts: Facts, findings: list[Finding]) -> RenderableType:
    """Return the whole page."""
    account = facts.account
    method = (
        f"callback {account.callback}" if account.refresh_method == RefreshMethod.CALLBACK else "standard"
    )
    head = Text.assemble(
        (account.id, "bold"),
        (f"  ·  {account.provider}, {method}  ·  ", "dim"),
        (account.status, _STATUS_STYLES.get(account.status, "bold red")),
    )
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column()
    rows.add_row("Token", Text(token_words(facts)))
    rows.add_row("Policy", Text(policy_words(facts)))
    if account.scope:
        rows.add_row("Scopes", Text(account.scope))
    rows.add_row("Lately", _lately(facts))
    wrong = [finding for finding in findings if finding.wrong]
    title = "What is wrong, most likely first" if len(wrong) > 1 else "What is wrong"
    parts: list[RenderableType] = [head, Text(), rows, Text()]
    if not wrong:
        title = "Worth knowing" if findings else "Nothing is wrong that refreshd can see"
    parts.append(Text(title, style="bold"))
    parts += [_finding(nth, finding) for nth, finding in enumerate(findings, start=1)]
    if not wrong:
        parts.append(_compare(facts))
    return Stack(*parts)


def _lately(facts: Facts) -> RenderableType:
    if not facts.attempts:
        return Text("Nothing: no refresh was ever tried, and nobody asked for one.")
    return Stack(*(line_of(one, now=facts.now) for one in facts.attempts[:LATELY]))


def _finding(nth: int, finding: Finding) -> RenderableType:
    rows = Table.grid(padding=(0, 1))
    rows.add_row(Text(f"{nth}.", style="bold red" if finding.wrong else "yellow"), Text(finding.words))
    rows.add_row("", Text.assemble(("-> ", "dim"), (finding.remedy, "cyan")))
    return Padding(rows, (0, 0, 0, 2))


def _compare(facts: Facts) -> RenderableType:
    return Padding(Text(compare_words(facts)), (0, 0, 0, 2))
