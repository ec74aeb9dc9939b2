"""Findings about what every account needs: the stores, beat, workers on its queue, a backlog that is worked off. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.account_state import RefreshMethod, Status
from worker.broker.queues import CALLBACK, CALLBACK_WORKER, CONTROL, REFRESH, STANDARD_WORKER
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.token import no_token, since_when
from worker.durations import duration
from worker.policy.backlog import PLAN_LATE_S

#: An account that is due for longer than this waits for something.
_OVERDUE_S: Final = 15.0
#: How PostgreSQL refuses what would be written on a standby, or where its settings allow reading alone.
_STANDBY: Final = "read-only transaction"
#: Fewer messages are between a plan and a worker; more are a backlog, of which a queue holds ten seconds of work.
_WAITING: Final = 3


def stores(facts: Facts) -> Iterator[Finding]:
    if facts.read_only:
        yield Finding(
            "database_read_only",
            f"The database can be read but not written ({facts.read_only}): no attempt can be opened, so nothing is "
            "refreshed.",
            "PostgreSQL takes no writes here, as a standby after a failover: point REFRESHD_DATABASE_URL to the primary, here and for every worker; then "
            "`refreshd doctor`."
            if _STANDBY in facts.read_only
            else "Give the database disk space and the work role its rights, then `refreshd doctor`.",
        )
    if facts.redis is None and facts.redis_refuses:
        yield Finding(
            "redis_refuses",
            f"Redis answers, and refuses what is asked of it ({facts.redis_error}): what readers find can't be told. Workers "
            "that have the same settings do nothing.",
            "Compare REFRESHD_REDIS_URL (user, password) and REFRESHD_REDIS_PREFIX here with the workers': the users of "
            "deploy/redis/users.acl may touch the keys of one prefix. `ACL LOG` in Redis has what was refused.",
        )
    elif facts.redis is None:
        yield Finding(
            "redis_unreachable",
            f"Redis does not answer ({facts.redis_error}): nothing is refreshed, and no reader gets a token.",
            "Start it, or correct REFRESHD_REDIS_URL, for every worker and connector.",
        )


def beat(facts: Facts) -> Iterator[Finding]:
    if facts.read_only:
        return  # no plan can be noted; `stores` says why
    late_s = None if facts.planned_at is None else facts.now - facts.planned_at
    if _is_planned(facts) and (late_s is None or late_s > PLAN_LATE_S + facts.plan_interval_s):
        ago = "no plan was ever made" if late_s is None else f"the last plan ended {duration(late_s)} ago"
        yield Finding(
            "beat_down", f"Nothing is planned: {ago}. {_why_nothing_plans(facts)}", _have_it_planned(facts)
        )


def _planners(facts: Facts) -> list[str]:
    return [worker for worker, queues in (facts.workers or {}).items() if CONTROL in queues]


def _why_nothing_plans(facts: Facts) -> str:
    if planners := _planners(facts):
        return (
            f"Yet {', '.join(planners)} takes from `control`: so beat is down, or what it sends is refused, or they work on "
            "another database."
        )
    if facts.workers:
        return f"Of {', '.join(facts.workers)}, which answer, no worker takes from `control`, where plans are made."
    return "Either beat is down, or no worker takes from `control`."


def _have_it_planned(facts: Facts) -> str:
    if facts.workers and not _planners(facts):
        return f"Start one: `{STANDARD_WORKER}`."
    if _planners(facts):
        return (
            "`refreshd doctor` says whether a beat answers: if none does, start `celery -A worker.app beat`. If one does, the "
            "worker's log says why: `message_refused` means that beat lacks the workers' REFRESHD_MESSAGE_KEYS; nothing at all, "
            "that they work elsewhere: compare REFRESHD_DATABASE_URL, and REFRESHD_DATA_DIR where it is SQLite."
        )
    return "Start `celery -A worker.app beat` (exactly one is enough) and a worker; `refreshd doctor` looks for both."


def no_worker(facts: Facts) -> Iterator[Finding]:
    wanted = CALLBACK if facts.account.refresh_method == RefreshMethod.CALLBACK else REFRESH
    if not _is_planned(facts) or facts.workers is None:
        return
    if any(wanted in queues for queues in facts.workers.values()):
        return
    messages = facts.redis.queues.get(wanted, 0) if facts.redis else 0
    waiting = f"{messages} message{' waits' if messages == 1 else 's wait'} there"
    start = CALLBACK_WORKER if wanted == CALLBACK else STANDARD_WORKER
    yield Finding(
        "no_worker_on_queue",
        f"No worker takes from the queue `{wanted}`, so nothing of this account is ever run. Alive: "
        f"{', '.join(facts.workers) or 'none'}; {waiting}.",
        f"Start one: `{start}`.",
    )


def queue_full(facts: Facts) -> Iterator[Finding]:
    waiting = facts.redis.queues.get(REFRESH, 0) if facts.redis else 0
    late = _overdue_s(facts) > _OVERDUE_S
    if _is_planned(facts) and (waiting >= facts.queue_limit or (waiting >= _WAITING and late)):
        yield Finding(
            "queue_full",
            f"{waiting} messages wait in `{REFRESH}`: the workers do not keep up. What else is due waits for its turn, the "
            "token that ends soonest first.",
            f"Start more workers, on more cores: `{STANDARD_WORKER}`.",
            wrong=late,
        )


def waiting(facts: Facts) -> Iterator[Finding]:
    """Return that it waits, or that it has no token, where nothing that is wrong says what for."""
    overdue = _overdue_s(facts) > _OVERDUE_S and not facts.pauses
    if overdue and facts.account.status in {Status.ACTIVE, Status.DEGRADED}:
        yield _overdue(facts)
    elif facts.lacks_token:
        yield no_token(facts)


def _overdue(facts: Facts) -> Finding:
    waiting, remedy = "", "`refreshd status` shows whether the whole fleet is behind, and the queues."
    if facts.account.refresh_method == RefreshMethod.CALLBACK and facts.redis:
        count = facts.redis.queues.get(CALLBACK, 0)
        waiting = (
            f" {count} messages wait in `{CALLBACK}`: all its processes may be busy with slow callbacks."
            if count
            else f" No message waits in `{CALLBACK}`: its workers take them, and are busy or refuse them."
        )
        remedy += (
            " `refreshd callbacks list` shows how the last runs ended: give those that hang a shorter `timeout_s`, or "
            "the callback worker a larger `--concurrency`."
        )
    remedy += " A worker that refuses its messages says `message_refused` in its log: it has other REFRESHD_MESSAGE_KEYS."
    readers = f" {words}" if (words := since_when(facts)) else ""
    return Finding("overdue", f"It has been due for {duration(_overdue_s(facts))}.{readers}{waiting}", remedy)


def _is_planned(facts: Facts) -> bool:
    return facts.account.next_refresh_at is not None


def _overdue_s(facts: Facts) -> float:
    due_at = facts.account.next_refresh_at
    return 0.0 if due_at is None else facts.now - due_at
