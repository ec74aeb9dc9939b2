"""A short run of each fuzzing target: no exception but ours, no secret in errors, no token thrown away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given

from tests.contract.fuzz.targets import TARGETS
from tests.support.examples import examples

#: Cases of those that go through a real Redis; each holds many inputs.
THROUGH_REDIS = {"broker-messages": 10, "rejected-reports": 10}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.integration if name in THROUGH_REDIS else ()) for name in TARGETS],
)
def test_nothing_that_is_parsed_raises_but_our_errors(name: str) -> None:
    target = TARGETS[name]
    with target.opened() as check:

        @examples(
            THROUGH_REDIS.get(name, 100),
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=target.cases)
        def each(case: Any) -> None:
            check(case)

        each()
