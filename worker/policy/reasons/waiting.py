"""What an account, or a plan, waits for."""

from __future__ import annotations

from typing import Final

from models.account_state import TOKEN_ENDED as TOKEN_ENDED_CODE
from models.rate_limit import WaitReason
from worker.policy.reasons.reason import Reason

_UNLESS_LONG: Final = "nothing, unless for long"
_IF_IT_LASTS: Final = "no token if it lasts"

TOKEN_ENDED: Final = Reason(
    TOKEN_ENDED_CODE,
    "Its token ended before it was refreshed, and nothing had failed: it waited, or its `fixed` timeout is longer than its token lives.",
    "no token, until the next refresh",
    "`refreshd explain ACCOUNT` says which; for a timeout that is too long `refreshd accounts edit ACCOUNT session_management=auto`",
)
RATE_SPENT: Final = Reason(
    WaitReason.SPENT.value,
    "The provider's rate or its calls in flight were used up.",
    _UNLESS_LONG,
    "`refreshd status`; a higher `requests_per_s` or `max_in_flight` in your providers file",
)
PROVIDER_PAUSED: Final = Reason(
    WaitReason.THROTTLED.value,
    "The provider had asked to be left alone (429): a gate held the account.",
    _UNLESS_LONG,
    "wait; a lower `requests_per_s` avoids it",
)
BREAKER_OPEN: Final = Reason(
    WaitReason.DOWN.value,
    "The origin was down for several accounts: a gate held this one.",
    _IF_IT_LASTS,
    "[RefreshdBreakerOpen](#refreshdbreakeropen)",
)
CLIENT_GATE_CLOSED: Final = Reason(
    WaitReason.REFUSED.value,
    "The provider had refused the same client for several accounts: a gate held this one.",
    _IF_IT_LASTS,
    "as `invalid_client`",
)
REDIS_UNREACHABLE: Final = Reason(
    "redis_unreachable",
    "The worker could not reach Redis; the next plan tries again.",
    _IF_IT_LASTS,
    "[RefreshdRedisDown](#refreshdredisdown)",
)
DATABASE_UNREACHABLE: Final = Reason(
    "database_unreachable",
    "The worker could not reach the database.",
    "nothing while tokens last",
    "[RefreshdDatabaseDown](#refreshddatabasedown)",
)
ANSWER_STASHED: Final = Reason(
    "answer_stashed_until_the_database_is_back",
    "An answer arrived, and waits in Redis, sealed, for the database.",
    action="[RefreshdAnswersWaiting](#refreshdanswerswaiting)",
)
WORKER_ENDING: Final = Reason(
    "worker_ending",
    "Its worker was asked to end (SIGTERM) before it began; the next plan sends it again.",
    action="nothing",
)
ANOTHER_PLAN: Final = Reason(
    "another_plan_is_running",
    "There are two beats, or a plan takes long.",
    action="nothing; always: `refreshd doctor`",
)
QUEUES_FULL: Final = Reason(
    "queues_are_full",
    "A backlog is worked off, soonest to end first; ten seconds of work wait in the queue.",
    _UNLESS_LONG,
    "[RefreshdQueueDepth](#refreshdqueuedepth)",
)
