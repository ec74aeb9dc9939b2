"""Every reason that an account, an attempt, an event or a plan can have, a module a kind.

A reason stands here once: code, sentence, what users notice, what to do. The verdict table and the refresh path refer to
it; `explain`, webhooks, `docs/verdicts.md` and the tables of `docs/runbook.md` take their sentences from it. Codes that
models or the reader need as well are theirs.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from worker.policy.reasons import correction, discovery, done, due, login, passing, skipped, waiting
from worker.policy.reasons.reason import Reason


def reasons_of(kind: ModuleType) -> tuple[Reason, ...]:
    """Return the reasons of one kind, in the order in which they are written."""
    return tuple(value for value in vars(kind).values() if isinstance(value, Reason))


#: The kinds, in the order of the runbook.
KINDS: Final = (done, due, skipped, waiting, passing, correction, discovery, login)
REASONS: Final[dict[str, Reason]] = {str(reason): reason for kind in KINDS for reason in reasons_of(kind)}


def message_of(code: str) -> str:
    """Return a reason's sentence; the code itself where it is a providers file's own."""
    reason = REASONS.get(code)
    return reason.message if reason is not None else f"{code}."
