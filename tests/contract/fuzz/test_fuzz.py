"""A short run of each fuzzing target: no exception but ours, no secret in errors, no token thrown away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.contract.fuzz.targets import TARGETS

#: Cases of each; the two that go through a real Redis hold many inputs a case.
CASES = {"broker-messages": 10, "rejected-reports": 10}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_is_parsed_raises_but_our_errors(name: str) -> None:
    target = TARGETS[name]
    with target.opened() as check:

        @settings(
            max_examples=CASES.get(name, 100),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=target.cases)
        def each(case: Any) -> None:
            check(case)

        each()
