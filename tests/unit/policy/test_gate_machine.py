"""Gates as a whole: whatever fails beside it, a healthy account is never without a token because of a neighbour."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models.rate_limit import WaitReason
from tests.support.examples import examples
from tests.support.gate_world import LIFETIME_S, World
from worker.policy.gates import EVIDENCE, PROBE_S, TRICKLE_PER_S

ORIGINS = ("https://a.example", "https://a.example:8443", "https://b.example")
CLIENTS = ("client-1", "client-2")
KINDS = st.sampled_from(["503", "401", "404", "429"])
#: So many healthy accounts fit through one gate's trickle within the margin, with room to spare.
ACCOUNTS_MAX = 30
#: A healthy account that comes due behind a closed gate waits for the next plan, and for those that end sooner.
SETTLE_S = 3


class GatesMachine(RuleBasedStateMachine):
    """Accounts that succeed, fail, are throttled and recover, at several origins and clients."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def accounts(self) -> list[str]:
        return sorted(self.world.accounts)

    @precondition(lambda self: len(self.world.accounts) < ACCOUNTS_MAX)
    @rule(
        origin=st.sampled_from(ORIGINS),
        client=st.sampled_from(CLIENTS),
        proven=st.booleans(),
        life_s=st.floats(min_value=20.0, max_value=LIFETIME_S),
        count=st.integers(min_value=1, max_value=6),
        kind=st.none() | KINDS,
    )
    def connect(
        self, origin: str, client: str, proven: bool, life_s: float, count: int, kind: str | None
    ) -> None:
        for _ in range(count):
            name = f"acct-{len(self.world.accounts):02}"
            self.world.add(name, origin, client, proven=proven, life_s=life_s)
            self.world.accounts[name].sick = kind

    @precondition(lambda self: self.world.accounts)
    @rule(data=st.data(), kind=KINDS)
    def an_account_falls_sick(self, data: st.DataObject, kind: str) -> None:
        self.world.accounts[data.draw(st.sampled_from(self.accounts()))].sick = kind

    @precondition(lambda self: self.world.accounts)
    @rule(data=st.data())
    def an_account_recovers(self, data: st.DataObject) -> None:
        account = self.world.accounts[data.draw(st.sampled_from(self.accounts()))]
        account.sick = None
        account.well_since = self.world.now

    @rule(place=st.sampled_from([*ORIGINS, *CLIENTS]), kind=KINDS)
    def a_place_falls_sick(self, place: str, kind: str) -> None:
        self.world.sick[place] = kind

    @rule(place=st.sampled_from([*ORIGINS, *CLIENTS]))
    def a_place_recovers(self, place: str) -> None:
        if self.world.sick.pop(place, None) is not None:
            for account in self.world.accounts.values():
                if place in {account.origin, account.client}:
                    account.well_since = self.world.now

    @precondition(lambda self: self.world.accounts)
    @rule(data=st.data())
    def a_person_forces_a_refresh(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.accounts()))
        before = sum(self.world.calls[int(self.world.now)].values())
        self.world.force(name)
        assert sum(self.world.calls[int(self.world.now)].values()) == before + 1, "a forced call goes through"

    @rule(seconds=st.integers(min_value=1, max_value=40))
    def time_goes_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.pass_by(1)
            self.every_second()

    def every_second(self) -> None:
        """What holds at the end of each second."""
        world = self.world
        for account in world.accounts.values():
            healthy = account.failed_at is None and world.is_well(account)
            if healthy and world.now - account.well_since > SETTLE_S:
                assert account.ends_at > world.now, f"{account.name} has no token, and nobody asked for it"

    @invariant()
    def a_gate_closes_on_evidence_of_several(self) -> None:
        for name, gate in self.world.gates.items():
            if gate.cause in {WaitReason.DOWN, WaitReason.REFUSED}:
                assert len({*gate.evidence, *gate.doubts}) >= EVIDENCE, name
                assert not gate.for_all or len(gate.evidence) >= EVIDENCE, name

    @invariant()
    def whoever_is_held_is_held_by_a_gate(self) -> None:
        for account in self.world.accounts.values():
            assert account.held_by is None or account.held_by.startswith(account.origin)


TestGates = GatesMachine.TestCase
TestGates.settings = examples(60, stateful_step_count=40, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("count", [10, 300])
@pytest.mark.parametrize("proven", [True, False], ids=["worked before", "never worked"])
def test_an_origin_that_answers_nothing_but_503_is_called_at_a_bounded_rate(count: int, proven: bool) -> None:
    world = World()
    for number in range(count):
        world.add(f"a{number:03}", ORIGINS[0], CLIENTS[0], proven=proven, life_s=20.0 + number % 40)
    world.sick[ORIGINS[0]] = "503"
    world.pass_by(240)

    calls = [world.calls[second][ORIGINS[0]] for second in range(1, 241)]
    # Those that were due in one second before the gate had its evidence, then the trickle and one probe.
    assert max(calls) <= max(TRICKLE_PER_S + 1, EVIDENCE)
    longest_s = PROBE_S[WaitReason.DOWN][1]
    assert sum(calls[180:]) <= 60 / longest_s + 1, "all have failed by then: probes alone are left"
    called = sum(calls)
    assert called >= count * 0.5 if count > 100 else called >= count


def test_everybody_is_served_once_before_anybody_twice_after_a_pause() -> None:
    """Twenty accounts of a server that takes ten requests in 40 seconds."""
    world, served = World(), list[str]()
    for number in range(20):
        world.add(f"a{number:02}", ORIGINS[0], CLIENTS[0], proven=True, life_s=20.0 + number / 10)
    window: list[float] = []
    call = world._call

    def limited(account: object, names: tuple[str, str]) -> None:
        window[:] = [at for at in window if at > world.now - 40]
        if len(window) >= 10:
            world.sick[ORIGINS[0]] = "429"
        else:
            window.append(world.now)
            served.append(account.name)  # type: ignore[attr-defined]
        call(account, names)  # type: ignore[arg-type]
        world.sick.pop(ORIGINS[0], None)

    world._call = limited  # type: ignore[method-assign]
    world.pass_by(400)

    for number in range(len(served) // 20):
        assert len(set(served[number * 20 : number * 20 + 20])) >= 19, served
