"""What one account's answer says of its origin and of its client, and so of everybody's gates. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from models.answer import Answer, Fault, Judgement, Verdict
from worker.policy.backoff import RATE_LIMITED_DEFAULT_S, RETRY_AFTER_MAX_S
from worker.policy.gates import Failure, Gate

#: So many different clients have to hear a 429 at one origin before the origin is paused for all of them.
THROTTLED_CLIENTS: Final = 2
#: Reasons that concern the client and not the account: every account of the client would hear the same.
CLIENT_REASONS: Final = frozenset({"invalid_client", "client_refused"})
_DOWN_FAULTS: Final = frozenset({Fault.CONNECT, Fault.DNS, Fault.TLS, Fault.TIMEOUT, Fault.BROKEN})
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


class Signal(StrEnum):
    """What an answer says of everybody else at the same origin, or with the same client."""

    DOWN = "down"
    REFUSED = "refused"
    THROTTLED = "throttled"
    #: The origin answered, and the client was accepted.
    ACCEPTED = "accepted"
    #: The origin answered; of the client it says nothing.
    ANSWERED = "answered"
    SUCCEEDED = "succeeded"
    NOTHING = "nothing"


def signal(answer: Answer, judgement: Judgement) -> Signal:
    """Return what an answer says beyond its own account."""
    if answer.token is not None:
        return Signal.SUCCEEDED
    if is_throttled(answer, judgement):
        return Signal.THROTTLED
    if is_down(answer):
        return Signal.DOWN
    if judgement.reason in CLIENT_REASONS:
        return Signal.REFUSED
    if answer.status is None:
        return Signal.NOTHING
    return Signal.ACCEPTED if judgement.verdict is Verdict.REAUTHORIZE else Signal.ANSWERED


def is_down(answer: Answer) -> bool:
    """Return whether an answer says that the origin is down, whoever asked."""
    return answer.fault in _DOWN_FAULTS or (answer.status is not None and answer.status >= _SERVER_ERROR)


def is_throttled(answer: Answer, judgement: Judgement) -> bool:
    """Return whether an answer asks to leave the provider alone, and not just for this account."""
    asks = answer.status == _TOO_MANY or (answer.status is not None and answer.retry_after_s is not None)
    return judgement.verdict is Verdict.RATE_LIMITED and asks


def pause_s(judgement: Judgement) -> float:
    """Return how long a 429 pauses, seconds: as long as it says, within bounds."""
    asked_s = RATE_LIMITED_DEFAULT_S if judgement.retry_after_s is None else judgement.retry_after_s
    return min(max(asked_s, 1.0), RETRY_AFTER_MAX_S)


def record(origin: Gate, client: Gate, found: Signal, failure: Failure, seconds: float) -> tuple[Gate, Gate]:
    """Return both gates after an answer.

    Args:
        origin: the gate of scheme, host and port.
        client: the gate of the client at its token endpoint.
        found: what the answer says.
        failure: whose answer it was; used where it failed.
        seconds: how long a 429 asks to be left alone.
    """
    match found:
        case Signal.DOWN:
            return origin.failed(failure), client
        case Signal.REFUSED:
            return origin.answered(failure.now), client.failed(failure)
        case Signal.THROTTLED:
            until = failure.now + seconds
            return (
                origin.answered(failure.now).paused(failure, until, clients=THROTTLED_CLIENTS),
                client.paused(failure, until, clients=1),
            )
        case Signal.ACCEPTED:
            return origin.answered(failure.now), client.answered(failure.now)
        case Signal.ANSWERED:
            return origin.answered(failure.now), client
        case Signal.SUCCEEDED:
            return origin.succeeded(failure.now), client.succeeded(failure.now)
        case Signal.NOTHING:
            return origin, client
