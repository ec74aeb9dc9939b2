"""Which accounts a person or a program asks for; `worker/db/accounts/conditions.py` finds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field


class Filter(Struct, frozen=True):
    """Which accounts; None: any."""

    status: str | None = None
    provider: str | None = None
    refresh_method: str | None = None
    #: The name of the client that they use.
    client: str | None = None
    #: Labels that they have, all of them: name -> value.
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Those whose status changed then or since, epoch seconds.
    changed_since: float | None = None
    #: Those that are failing for this reason.
    reason: str | None = None
    #: Those that came due before then, epoch seconds, and that no pause has set aside.
    due_before: float | None = None


EVERY_ACCOUNT: Final = Filter()
