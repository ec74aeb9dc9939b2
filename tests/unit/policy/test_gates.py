"""Who may call while others fail: the rules of gates, each by itself."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from models.answer import Answer, Fault, Judgement, Verdict
from models.rate_limit import WaitReason
from models.token import Secret, TokenResponse
from worker.policy.gate_signals import Signal, pause_s, record, signal
from worker.policy.gates import EVIDENCE, OPENING_S, PROBE_S, TRICKLE_PER_S, Ask, Failure, Gate, admit
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S
from worker.scheduling.held_picks import RELEASED_MAX

NOW = 1_000_000.0


def failure(account: str = "a", cause: WaitReason = WaitReason.DOWN, **more: object) -> Failure:
    fields = {"account": account, "cause": cause, "reason": "http_503", "proven": True, "now": NOW}
    return Failure(**(fields | more))  # type: ignore[arg-type]


def closed(cause: WaitReason = WaitReason.DOWN, accounts: str = "abc", **more: object) -> Gate:
    gate = Gate()
    for account in accounts:
        gate = gate.failed(failure(account, cause, **more))
    return gate


#: The trickle of a gate that closed at `NOW` is whole by then.
LATER = NOW + 2


def asks(gate: Gate, *who: Ask, now: float = LATER) -> list[bool]:
    """Return who may call, each in turn."""
    _, held = admit({"gate": gate}, who, now=now, call_s=45)
    return [name is None for name in held]


HEALTHY = Ask(account="h", healthy=True, picked=True)
FAILING = Ask(account="f", healthy=False, picked=True)


# --- what closes a gate -----------------------------------------------------------------------------------


def test_three_accounts_that_worked_before_close_a_gate() -> None:
    assert closed().is_closed(NOW)
    assert closed().for_all
    assert (closed().by, closed().reason, closed().since) == ("c", "http_503", NOW)


def test_two_accounts_close_nothing_however_often_they_fail() -> None:
    assert not closed(accounts="ababababab").is_closed(NOW)


def test_a_success_between_is_the_end_of_the_evidence() -> None:
    gate = closed(accounts="ab").succeeded(NOW).failed(failure("c"))
    assert not gate.is_closed(NOW)


def test_accounts_that_never_worked_hold_their_like_and_no_account_that_did() -> None:
    gate = closed(proven=False)
    assert gate.is_closed(NOW)
    assert not gate.for_all
    never = Ask(account="n", healthy=True, proven=False)
    worked = replace(HEALTHY, picked=False)
    assert asks(gate, worked, never, replace(FAILING, picked=False), now=NOW) == [True, False, False]


def test_a_gate_of_doubts_holds_everybody_once_enough_accounts_that_worked_fail() -> None:
    gate = closed(proven=False)
    for account in "xyz":
        gate = gate.failed(failure(account))
    assert gate.for_all


@pytest.mark.parametrize(("clients", "origin_closed"), [("A", False), ("AA", False), ("AB", True)])
def test_a_429_pauses_its_client_and_the_origin_once_a_second_client_hears_it(
    clients: str, origin_closed: bool
) -> None:
    origin = Gate()
    for client_id in clients:
        origin, client = record(
            origin, Gate(), Signal.THROTTLED, failure(cause=WaitReason.THROTTLED, client_id=client_id), 60
        )
        assert client.is_closed(NOW)
        assert client.until == NOW + 60
    assert origin.is_closed(NOW) is origin_closed


def test_a_client_whose_pause_is_over_is_no_second_one() -> None:
    first, _ = record(
        Gate(), Gate(), Signal.THROTTLED, failure(cause=WaitReason.THROTTLED, client_id="A"), 10
    )
    later = failure(cause=WaitReason.THROTTLED, client_id="B", now=NOW + 20)
    origin, _ = record(first, Gate(), Signal.THROTTLED, later, 10)
    assert not origin.is_closed(NOW + 20)


# --- what a closed gate lets through --------------------------------------------------------------------------


def test_an_open_gate_holds_nobody() -> None:
    assert asks(Gate(), replace(HEALTHY, picked=False), replace(FAILING, picked=False)) == [True, True]


@pytest.mark.parametrize("cause", [WaitReason.DOWN, WaitReason.REFUSED])
def test_healthy_accounts_pass_at_the_trickle_and_not_faster(cause: WaitReason) -> None:
    gate = closed(cause)
    group = [replace(HEALTHY, account=f"h{number}") for number in range(20)]
    assert asks(gate, *group).count(True) == TRICKLE_PER_S
    assert asks(gate, *group, now=NOW + 60).count(True) == TRICKLE_PER_S


def test_a_provider_s_own_rate_is_its_trickle() -> None:
    gate = closed(calls_per_s=20.0)
    assert asks(gate, *[HEALTHY] * 50).count(True) == 20


def test_a_slow_provider_s_trickle_lets_one_through_in_its_time() -> None:
    gate = closed(calls_per_s=0.1)
    left, held = admit({"g": gate}, [HEALTHY] * 3, now=NOW + 10, call_s=45)
    assert held == [None, "g", "g"]
    assert asks(left["g"], HEALTHY, now=NOW + 19) == [False]
    assert asks(left["g"], HEALTHY, now=NOW + 20) == [True]


def test_where_nobody_waits_a_healthy_account_goes_at_once() -> None:
    assert asks(closed(), replace(HEALTHY, picked=False)) == [True]


def test_where_others_wait_the_planner_picks_who_is_next_unless_a_token_is_about_to_end() -> None:
    gate = replace(closed(), contended_at=NOW - 1)
    early = replace(HEALTHY, picked=False, ends_at=NOW + 60)
    urgent = replace(HEALTHY, picked=False, ends_at=NOW + 4)
    assert asks(gate, early, urgent) == [False, True]
    assert asks(gate, early, now=NOW + 5) == [True]


def test_a_gate_that_holds_a_healthy_account_remembers_that_there_are_too_many() -> None:
    left, held = admit({"g": closed()}, [replace(HEALTHY, picked=False)] * 6, now=LATER, call_s=45)
    assert held == [None] * 5 + ["g"]
    assert left["g"].contended_at == LATER
    left, _ = admit({"g": closed()}, [replace(FAILING, picked=False)], now=NOW, call_s=45)
    assert left["g"].contended_at == 0


@pytest.mark.parametrize(
    ("ends_at", "goes"), [(NOW + 58.5, False), (NOW + 59.5, True), (NOW + 61, False), (None, False)]
)
def test_in_the_last_seconds_of_a_pause_only_tokens_that_end_before_it_are_refreshed(
    ends_at: float | None, goes: bool
) -> None:
    gate = Gate().paused(failure(cause=WaitReason.THROTTLED), NOW + 60, clients=1)
    assert asks(gate, replace(HEALTHY, ends_at=ends_at), now=NOW + 59) == [goes]
    assert asks(gate, replace(HEALTHY, ends_at=ends_at), now=NOW + 50) == [True]


def test_a_forced_call_passes_every_gate_and_takes_nothing_from_the_trickle() -> None:
    gate = closed()
    left, held = admit({"g": gate}, [replace(FAILING, picked=False, by_hand=True)], now=NOW, call_s=45)
    assert held == [None]
    assert left["g"] == gate


def test_an_account_that_failed_probes_when_the_time_has_come_and_one_at_a_time() -> None:
    gate = closed()
    due = NOW + PROBE_S[WaitReason.DOWN][0]
    assert asks(gate, FAILING, now=due - 1) == [False]
    left, held = admit({"g": gate}, [FAILING, replace(FAILING, account="f2")], now=due, call_s=45)
    assert held == [None, "g"]
    assert left["g"].until == due + 45


def test_the_account_that_failed_last_does_not_probe_unless_nobody_else_is_there() -> None:
    gate = closed()
    last = replace(FAILING, account=gate.last_failed)
    due = NOW + PROBE_S[WaitReason.DOWN][0]
    assert asks(gate, last, now=due + 1) == [False]
    assert asks(gate, last, now=due + 61) == [True]


def test_the_time_between_probes_doubles_up_to_its_longest() -> None:
    gate, waits = closed(), []
    for number in range(8):
        gate = gate.failed(failure(f"p{number}", now=NOW))
        waits.append(gate.until - NOW)
    assert waits == [5, 10, 20, 40, 60, 60, 60, 60]


def test_after_a_pause_few_accounts_come_back_at_first() -> None:
    gate = Gate().paused(failure(cause=WaitReason.THROTTLED), NOW + 60, clients=1)
    assert [gate.released_per_s(NOW + 60 + second, 50) for second in range(6)] == [5, 5, 10, 20, 40, 50]
    assert Gate().released_per_s(NOW, 50) == closed().released_per_s(NOW, 50) == 50


def test_nobody_probes_during_a_pause() -> None:
    gate = Gate().paused(failure(cause=WaitReason.THROTTLED), NOW + 60, clients=1)
    assert not gate.probe_due(NOW + 59)
    assert asks(gate, FAILING, now=NOW + 59) == [False]
    assert asks(gate, FAILING, now=NOW + 60) == [True]


# --- what opens a gate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", [WaitReason.DOWN, WaitReason.REFUSED])
def test_one_success_opens_a_gate(cause: WaitReason) -> None:
    assert closed(cause).succeeded(NOW + 1) == Gate(opened_at=NOW + 1)


def test_an_open_gate_brings_back_twice_as_many_each_ten_seconds_until_it_closes_again() -> None:
    gate = closed().succeeded(NOW)
    assert [gate.released_per_s(NOW + after, 50) for after in (0, 9, 10, 30, 60)] == [50, 50, 100, 400, 3200]
    assert gate.succeeded(NOW + 599).released_per_s(NOW + 30, 50) == 400
    again = gate
    for number in range(EVIDENCE):
        again = again.failed(failure(f"p{number}", now=NOW + 40))
    assert again.is_closed(NOW + 40)
    assert again.succeeded(NOW + 50).released_per_s(NOW + 59, 50) == 50


def test_half_a_million_accounts_are_back_in_three_minutes() -> None:
    gate, left, seconds = closed().succeeded(NOW), 500_000, 0
    while left > 0:
        left -= min(round(gate.released_per_s(NOW + seconds, ASSUMED_REQUESTS_PER_S)), RELEASED_MAX)
        seconds += 1
    assert seconds < 180


@pytest.mark.parametrize("opens", ["succeeded", "answered"])
def test_that_a_gate_was_closed_is_forgotten_in_the_end(opens: str) -> None:
    gate = getattr(closed(), opens)(NOW)
    assert gate == Gate(opened_at=NOW)
    assert gate.succeeded(NOW + OPENING_S) == Gate()
    assert Gate().succeeded(NOW) == Gate()


def test_a_success_that_was_on_its_way_before_a_429_does_not_end_the_pause() -> None:
    gate = Gate().paused(failure(cause=WaitReason.THROTTLED), NOW + 60, clients=1)
    assert gate.succeeded(NOW - 1).is_closed(NOW)
    assert not gate.succeeded(NOW + 1).is_closed(NOW)


def test_an_origin_that_answers_anything_is_up() -> None:
    origin, client = record(closed(), closed(WaitReason.REFUSED), Signal.ANSWERED, failure(), 0)
    assert not origin.is_closed(NOW)
    assert client.is_closed(NOW)


def test_a_client_that_hears_invalid_grant_is_accepted() -> None:
    _, client = record(Gate(), closed(WaitReason.REFUSED), Signal.ACCEPTED, failure(), 0)
    assert not client.is_closed(NOW)


# --- what an answer says of others -----------------------------------------------------------------------------

TOKEN = TokenResponse(access_token=Secret("at"))


@pytest.mark.parametrize(
    ("answer", "verdict", "reason", "found"),
    [
        (Answer(status=200, token=TOKEN), Verdict.REFRESHED, "refreshed", Signal.SUCCEEDED),
        (Answer(fault=Fault.CONNECT), Verdict.RETRY, "connect", Signal.DOWN),
        (Answer(fault=Fault.TIMEOUT), Verdict.RETRY, "timed_out", Signal.DOWN),
        (Answer(status=503), Verdict.RETRY, "http_5xx", Signal.DOWN),
        (Answer(status=503, retry_after_s=5), Verdict.RATE_LIMITED, "r", Signal.THROTTLED),
        (Answer(status=403, retry_after_s=5), Verdict.RATE_LIMITED, "r", Signal.THROTTLED),
        (Answer(status=429), Verdict.RATE_LIMITED, "r", Signal.THROTTLED),
        (
            Answer(status=429),
            Verdict.RETRY,
            "r",
            Signal.ANSWERED,
        ),  # a rule of the provider's says what it means
        (Answer(status=400), Verdict.RATE_LIMITED, "r", Signal.ANSWERED),  # Exact Online: not old enough
        (Answer(status=200), Verdict.RATE_LIMITED, "r", Signal.ANSWERED),  # Zoho: of this refresh token
        (Answer(status=401), Verdict.MISCONFIGURED, "invalid_client", Signal.REFUSED),
        (Answer(status=401), Verdict.MISCONFIGURED, "client_refused", Signal.REFUSED),
        (Answer(status=400), Verdict.REAUTHORIZE, "invalid_grant", Signal.ACCEPTED),
        (Answer(status=404), Verdict.MISCONFIGURED, "not_found", Signal.ANSWERED),
        (Answer(fault=Fault.NOT_SENT), Verdict.RETRY, "not_sent", Signal.NOTHING),
        (Answer(fault=Fault.UNBUILDABLE), Verdict.MISCONFIGURED, "request_impossible", Signal.NOTHING),
        (Answer(fault=Fault.CALLBACK), Verdict.RETRY, "callback_failed", Signal.NOTHING),
    ],
)
def test_what_an_answer_says_of_others(answer: Answer, verdict: Verdict, reason: str, found: Signal) -> None:
    assert signal(answer, Judgement(verdict=verdict, reason=reason)) is found


@pytest.mark.parametrize(("asked", "seconds"), [(None, 30), (0.0, 1), (75.0, 75), (1e308, 86_400)])
def test_a_pause_is_as_long_as_asked_within_bounds(asked: float | None, seconds: float) -> None:
    assert pause_s(Judgement(verdict=Verdict.RATE_LIMITED, reason="r", retry_after_s=asked)) == seconds


# --- what Redis keeps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gate", [Gate(), closed(), closed(proven=False), closed(WaitReason.REFUSED, client_id="c")]
)
def test_a_gate_is_read_as_it_was_written(gate: Gate) -> None:
    assert Gate.load(gate.dump()) == gate


def test_an_open_gate_is_not_kept() -> None:
    assert Gate().dump() == ""


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"cause":"unknown"}', '{"until":{}}', '{"newer":1}']
)
def test_what_cannot_be_read_delays_nobody(text: str) -> None:
    assert not Gate.load(text).is_closed(NOW)


def test_evidence_is_as_large_as_it_has_to_be() -> None:
    gate = Gate()
    for number in range(100):
        gate = gate.failed(failure(f"a{number}", proven=number % 2 == 0))
    assert len(gate.evidence) == len(gate.doubts) == EVIDENCE
