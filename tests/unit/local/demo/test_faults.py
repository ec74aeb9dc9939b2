"""Faults on demand: whom they hit, how often, and the same ones again from the same seed."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from worker.local.demo.provider.faults import FaultKind, Faults, FaultSpec


def draw(
    faults: Faults, number: int, *, client_id: str = "client", grant: str = "grant"
) -> list[FaultKind | None]:
    drawn = [faults.draw(client_id=client_id, grant=grant) for _ in range(number)]
    return [fault.kind if fault else None for fault in drawn]


def test_the_next_so_many_calls() -> None:
    faults = Faults(seed=1)
    faults.set = [FaultSpec(kind=FaultKind.RESET, times=2)]
    assert draw(faults, 4) == [FaultKind.RESET, FaultKind.RESET, None, None]
    assert faults.set[0].happened == 2


def test_by_chance_and_the_same_each_time() -> None:
    def drawn(seed: int) -> list[FaultKind | None]:
        faults = Faults(seed)
        faults.set = [FaultSpec(kind=FaultKind.GARBAGE, probability=0.3)]
        return draw(faults, 1000)

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert 200 < sum(kind is FaultKind.GARBAGE for kind in drawn(7)) < 400


@pytest.mark.parametrize(
    ("limits", "hit"),
    [
        ({}, True),
        ({"client_id": "client"}, True),
        ({"client_id": "other"}, False),
        ({"grant": "grant"}, True),
        ({"grant": "other"}, False),
        ({"client_id": "client", "grant": "other"}, False),
    ],
)
def test_one_client_or_one_grant(limits: dict[str, str], *, hit: bool) -> None:
    faults = Faults(seed=1)
    faults.set = [FaultSpec.model_validate({"kind": "unavailable", "times": 9, **limits})]
    assert draw(faults, 1) == [FaultKind.UNAVAILABLE if hit else None]


@pytest.mark.parametrize("amounts", [{}, {"times": 1, "probability": 0.5}, {"probability": 0}, {"times": 0}])
def test_a_fault_has_one_amount(amounts: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        FaultSpec.model_validate({"kind": "reset", **amounts})
