"""Checks of clients: whether the secret of one comes to its end."""

from __future__ import annotations

from collections.abc import Iterator

from worker.context import AppContext
from worker.db.fleet.client_secrets import ending
from worker.diagnostics.doctor.result import CheckResult, Level
from worker.durations import duration


def check_client_secrets(here: AppContext) -> Iterator[CheckResult]:
    """Name the clients whose secret has ended, or ends within the days of REFRESHD_EXPIRING_DAYS."""
    days = max(here.settings.expiring_thresholds_days, default=0.0)
    found, now = ending(here.engine, within_days=days), here.clock.now()
    for one in found:
        left_s = one.expires_at - now
        when = f"ends in {duration(left_s)}" if left_s > 0 else f"ended {duration(-left_s)} ago"
        yield CheckResult(
            "clients",
            Level.WARNING if left_s > 0 or not one.accounts else Level.FAILED,
            f"the secret of client {one.client} ({one.provider}) {when}; {one.accounts:,} accounts use it",
            f"`refreshd clients edit {one.client} client_secret=@FILE client_secret_expires_at=TIME` with a new one",
        )
