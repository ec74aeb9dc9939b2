"""One account on its way through a refresh: who asked, what was loaded, and its entry in the history and the log."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct, field

from models.answer import Answer
from models.providers import Provider
from models.rate_limit import WaitReason
from models.refresh_request import RefreshRequest
from models.tables.account import Account
from models.tables.attempt import AttemptEntry, Outcome, Trigger, new_attempt_id
from models.token import Secret, TokenSet
from worker.log import log
from worker.policy.lane import Lane
from worker.redis.pending_answers import PendingAnswer

#: A call ends this long before its claim, at the latest: a busy event loop notices an end late.
CLAIM_GUARD_S = 5.0
#: Outcomes that need no entry where a plan met another.
_QUIET = frozenset({Outcome.SUPERSEDED, Outcome.NOT_DUE, Outcome.BUSY})


class Origin(Struct, frozen=True):
    """Why a group is refreshed, and by which worker and task: the history names them."""

    trigger: Trigger
    worker: str = ""
    task_id: str = ""


class Deadlines(Struct, frozen=True):
    """How long the call of an attempt may take."""

    #: The longest call, seconds.
    call_timeout_s: float
    #: Seconds for which SQL keeps other workers off an account whose attempt is open.
    claim_s: float

    def end_of_call(self, *, asked_at: float, now: float) -> float:
        """Return when a call has to end. It has its whole time, or nothing is sent.

        A call cut short is worse than none: its refresh token may be spent. The claim began no earlier than
        `asked_at`; where a slow database ate so much of it that a call could outlast it, the time is over now.
        """
        ends = now + self.call_timeout_s
        return ends if ends <= asked_at + self.claim_s - CLAIM_GUARD_S else now


class Result(Struct, frozen=True):
    """How the refresh of one account ended."""

    outcome: Outcome
    reason: str
    generation: int


class OpenAttempt(Struct):
    """An account whose attempt is open, or about to be."""

    account: Account
    attempt: AttemptEntry
    provider: Provider | None
    #: Everything that the call needs; None where the provider is unknown or a secret does not open.
    request: RefreshRequest | None
    stashed: PendingAnswer | None
    #: The account's status before the refresh.
    was: str
    #: The event loop's time by which the call has ended.
    deadline: float = 0.0
    #: When the request was sent, epoch seconds.
    sent_at: float | None = field(default=None)
    #: Why there is no request: its reason, and a message for a person.
    impossible: tuple[str, str] | None = None
    #: What was raised while the request was built: the attempt ends with it as soon as it is open.
    broken: Exception | None = None
    #: The gates that the call has to pass; set when it asks to be admitted.
    lane: Lane | None = None
    #: What came back, until the committer has it.
    answer: Answer | None = None


class Hold(Struct, frozen=True):
    """The closed gate that an account waits at after its call failed."""

    gate: str
    cause: WaitReason
    #: When a pause ends, or when the next probe is due, epoch seconds.
    until: float


class Opened(Struct):
    """What became of a group before the first call."""

    #: Accounts that are called, each with an attempt open.
    attempts: list[OpenAttempt]
    #: Accounts that are not.
    results: dict[str, Result]


def new_attempt(attempt_id: str, account: Account, origin: Origin, *, now: float) -> AttemptEntry:
    """Return the history's entry of an attempt that is opened now."""
    return AttemptEntry(
        id=attempt_id,
        account_id=account.id,
        trigger=origin.trigger,
        opened_at=now,
        worker=origin.worker,
        task_id=origin.task_id,
        generation=account.generation,
        config_version=account.config_version,
        refresh_fp=account.refresh_fp,
    )


def describe(attempt: AttemptEntry, answer: Answer, latency_ms: float) -> None:
    """Write into an attempt what came back."""
    attempt.latency_ms = latency_ms
    attempt.http_status = answer.status
    attempt.error = answer.error or (answer.fault.value if answer.fault else None)
    attempt.error_description = answer.error_description or answer.fault_detail
    attempt.provider_request_id = answer.provider_request_id
    attempt.request = answer.request
    attempt.output = answer.output


def tokens_beside(
    account: Account, refresh_token: Secret, request: RefreshRequest, *, extra: Mapping[str, str]
) -> TokenSet:
    """Return the token set of a new refresh token that came alone: everything else stays as the row has it."""
    return TokenSet(
        access_token=request.access_token or Secret(""),
        refresh_token=refresh_token,
        token_type=account.token_type,
        scope=account.scope,
        issued_at=account.issued_at,
        expires_at=account.expires_at,
        refresh_token_expires_at=account.refresh_token_expires_at,
        extra=extra,
    )


def log_attempt(one: OpenAttempt, outcome: Outcome, reason: str, generation: int) -> None:
    """Write one log line about an attempt that ended, with its whole story."""
    account, attempt = one.account, one.attempt
    log.info(
        "attempt",
        account=account.id,
        provider=account.provider,
        trigger=attempt.trigger,
        outcome=outcome.value,
        reason=reason,
        generation=generation,
        http_status=attempt.http_status,
        error=attempt.error,
        latency_ms=round(attempt.latency_ms or 0),
        next_refresh_at=attempt.next_refresh_at,
        task_id=attempt.task_id,
        attempt=attempt.id,
    )


def refused_entries(
    results: Mapping[str, Result], origin: Origin, *, but: Collection[str], now: float
) -> list[AttemptEntry]:
    """Return the history's entries of refreshes that were not begun; a plan that met another leaves none."""
    planned = origin.trigger is Trigger.PLANNED
    return [
        _refused_entry(account_id, result, origin, now)
        for account_id, result in results.items()
        if account_id not in but and not (planned and result.outcome in _QUIET)
    ]


def _refused_entry(account_id: str, result: Result, origin: Origin, now: float) -> AttemptEntry:
    return AttemptEntry(
        id=new_attempt_id(now),
        account_id=account_id,
        trigger=origin.trigger,
        opened_at=now,
        closed_at=now,
        worker=origin.worker,
        task_id=origin.task_id,
        generation=result.generation,
        config_version=0,
        outcome=result.outcome,
        reason=result.reason,
    )
