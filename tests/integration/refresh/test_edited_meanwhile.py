"""An account that is switched off or on while its call is under way: the answer is stored, and the switch holds."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from models.tables.account import Status
from models.tables.attempt import Outcome, Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.db.accounts.stored import Accounts, Change


def switch(bench: Bench, *, on: bool) -> None:
    """Enable or disable the account, as an edit does."""
    account = bench.account()
    seen = account.generation, account.config_version
    now = bench.runtime.clock.now()
    if on:
        account.enable(now=now)
        account.rescheduled(now, "due")
    else:
        account.disable(now=now)
    assert Accounts(bench.runtime.engine).save([], [Change(account, *seen)]) == {"acct"}


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("dies", [False, True])
def test_the_switch_holds(bench: Bench, on: bool, dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the process ends before the due time was computed anew."""

    async def nothing(_: list[str]) -> None:
        pass

    bench.runtime.run(bench.runtime.reconciler.reconcile())  # Redis is filled, and known to be
    if dies:
        monkeypatch.setattr(bench.runtime.committer, "_reschedule", nothing)
    unplanned: dict[str, Any] = {"next_refresh_at": None, "plan_at": None} if on else {}
    bench.add(refresh_enabled=not on, status=Status.DISABLED if on else Status.ACTIVE, **unplanned)

    def answer(request: httpx.Request) -> httpx.Response:
        switch(bench, on=on)
        return granted(request)

    bench.answer = answer
    assert bench.refresh(trigger=Trigger.FORCED)["acct"].outcome == Outcome.REFRESHED
    bench.runtime.run(bench.runtime.committer.drain())
    if dies:
        bench.runtime.run(bench.runtime.reconciler.reconcile())

    row, state = bench.account(), bench.state()
    expected = Status.ACTIVE if on else Status.DISABLED
    assert (row.generation, row.status, row.next_refresh_at is None) == (2, expected, not on)
    assert row.plan_at == row.next_refresh_at
    assert state is not None
    assert state.status == expected
    assert state.since == pytest.approx(row.status_at, abs=0.01)
