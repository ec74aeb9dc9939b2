"""The reasons of `docs/runbook.md`, generated from `worker/policy/reasons`: `python -m docs.generate.runbook`.

The alerts above them are written by hand and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from worker.policy.reasons import (
    correction,
    discovery,
    done,
    due,
    login,
    passing,
    reasons_of,
    skipped,
    waiting,
)

PAGE: Final = Path(__file__).parents[1] / "runbook.md"

_HEADING: Final = "## Reasons\n"
_INTRODUCTION: Final = """
Each reason stands in exactly one table; the tables are generated from `worker/policy/reasons/`. `explain` says it in a
sentence, and [verdicts.md](verdicts.md) names the answers of a provider that lead to it.
"""
_POLICY: Final = """\
The due reason of an account: `refreshd explain ACCOUNT`. `refreshd accounts edit ACCOUNT FIELD=VALUE` changes the policy.
"""
_GATES: Final = """\
[gates.md](gates.md) tells what a gate may do.
"""
#: The sections: title, what stands above the table, the reasons.
_SECTIONS: Final[tuple[tuple[str, str, ModuleType], ...]] = (
    ("All is well", "", done),
    ("Why it is due then", _POLICY, due),
    ("Why it was not refreshed, and need not be", "", skipped),
    ("What it waits for", _GATES, waiting),
    ("For now: it is tried again by itself", "", passing),
    ("It needs a correction", "", correction),
    ("An address leads to no authorization server", "", discovery),
    ("Its owner has to log in again", "", login),
)


def page(written: str) -> str:
    """Return the page as Markdown: what is written by hand, and the reasons."""
    by_hand, _, _ = written.partition(_HEADING)
    return by_hand + _HEADING + _INTRODUCTION + "".join(_section(*section) for section in _SECTIONS)


def _section(title: str, above: str, kind: ModuleType) -> str:
    return f"\n### {title}\n\n{above}{chr(10) if above else ''}" + "".join(_table(kind))


def _table(kind: ModuleType) -> Iterator[str]:
    yield "| reason | means | users notice | do |\n|---|---|---|---|\n"
    for reason in reasons_of(kind):
        yield f"| `{reason}` | {reason.message} | {reason.users_notice} | {reason.action} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
