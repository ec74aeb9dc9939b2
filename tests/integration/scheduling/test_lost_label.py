"""An account that loses the label of a pause is planned again, and not only once strays are looked for."""

from __future__ import annotations

import pytest

from models.pause_scope import Scope
from tests.integration.conftest import Bench
from tests.integration.scheduling.test_pauses import LABELS, TENANT, pause
from tests.integration.scheduling.test_planner import Planning
from worker.db.accounts.stored import Accounts, Change
from worker.scheduling.planner import Planned


@pytest.mark.parametrize("labels_only", [True, False], ids=["its labels", "with other fields"])
def test_an_account_that_loses_the_label_by_which_it_was_set_aside_is_planned_again(
    bench: Bench, *, labels_only: bool
) -> None:
    bench.add(labels=LABELS)
    pause(bench, Scope.LABEL, TENANT)
    assert Planning(bench).planner.plan() == Planned()
    moved = bench.account()
    assert moved.plan_at is None
    moved.labels = '{"tenant": "beta"}'
    change = Change(moved, moved.generation, moved.config_version, labels_only=labels_only)
    assert Accounts(bench.runtime.engine).save([], [change])

    assert Planning(bench).planner.plan() == Planned(accounts=1, messages=1)
