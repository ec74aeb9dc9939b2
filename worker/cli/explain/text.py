"""The page that `refreshd explain` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from models.account_state import RefreshMethod, Status
from worker.cli.explain.folded import Folded, one_line
from worker.cli.records.history import line_of
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.words import compare_words, policy_words, token_words

#: Entries of the history that fit on a screen with the rest; `refreshd history` has all.
_LATELY: Final = 3
_STATUS_STYLES: Final[dict[str, str]] = {
    Status.ACTIVE: "bold green",
    Status.DEGRADED: "bold yellow",
    Status.DISABLED: "bold yellow",
}


def page(facts: Facts, findings: list[Finding]) -> RenderableType:
    """Return the whole page: what is wrong stands first, then what is known of the account."""
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
    return Stack(head, Text(), *_findings(facts, findings), Text(), rows)


def _findings(facts: Facts, findings: list[Finding]) -> Iterator[RenderableType]:
    """Yield what is wrong, then what is worth knowing; where nothing is wrong, what a connector has to find."""
    wrong = sum(finding.wrong for finding in findings)
    if wrong:
        yield Text("What is wrong, most likely first" if wrong > 1 else "What is wrong", style="bold")
    elif not findings:
        yield Text("Nothing is wrong that refreshd can see", style="bold")
    for nth, finding in enumerate(findings, start=1):
        if nth == wrong + 1:
            yield Text("Worth knowing", style="bold")
        yield _finding(nth, finding)
    if not wrong:
        yield _compare(facts)


def _lately(facts: Facts) -> RenderableType:
    if not facts.attempts:
        return Text("Nothing: no refresh was tried yet.")
    shown = facts.attempts[:_LATELY]
    return Stack(*(_one_row(line_of(one, now=facts.now)) for one in shown))


def _one_row(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _finding(nth: int, finding: Finding) -> RenderableType:
    number = Text(f"  {nth}. ", style="bold red" if finding.wrong else "yellow")
    hint = Text("     -> ", style="dim")
    return Stack(Folded(finding.message, first=number), Folded(finding.hint, first=hint, style="cyan"))


def _compare(facts: Facts) -> RenderableType:
    """Return the comparison: each of its lines that is indented is a command."""
    margin = Text("  ")
    lines = compare_words(facts).splitlines()
    return Stack(
        *(
            one_line(Text(f"  {line}")) if line.startswith(" ") else Folded(line, first=margin)
            for line in lines
        )
    )
