"""Checks of beats, workers, the callbacks that they know, webhooks and pauses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import text

from worker.broker.queues import CALLBACK, CALLBACK_WORKER, CONTROL, REFRESH, STANDARD_WORKER, URGENT
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.callbacks.usage import lacking, lines_of, uses
from worker.clock import TOLERATED_SKEW_S
from worker.context import AppContext
from worker.db.accounts.stored import uses_callbacks
from worker.db.engine import is_sqlite, reading
from worker.diagnostics.doctor.result import CheckResult, failed, ok, warning
from worker.diagnostics.explain.rules.clock import SET_BACK_REMEDY
from worker.durations import duration
from worker.errors import RefreshdError
from worker.policy.backlog import PLAN_LATE_S
from worker.policy.reasons import message_of
from worker.redis.counts import LiveWorkers

#: Pauses listed one by one.
PAUSES_NAMED_MAX: Final = 10
NEEDED_QUEUES: Final = (URGENT, CONTROL, REFRESH)


def check_beat(here: AppContext, staff: LiveWorkers | None) -> Iterator[CheckResult]:
    """Check that plans are made."""
    with reading(here.engine) as connection:
        finished = connection.execute(text("SELECT finished_at FROM duty WHERE name = 'plan'")).scalar()
    late_s = None if finished is None else here.clock.now() - float(finished)
    beats = None if staff is None else staff.beats
    if late_s is not None and late_s < -TOLERATED_SKEW_S:
        yield warning(
            "clock",
            f"the last plan lies {duration(-late_s)} in the future: the database's clock was set back by that; {_beats(beats)}",
            SET_BACK_REMEDY,
        )
        return
    if late_s is None or late_s > PLAN_LATE_S + here.settings.plan_interval_s:
        ago = "nothing was ever planned" if late_s is None else f"the last plan ended {late_s:.0f} s ago"
        yield failed(
            "beat",
            f"{ago}; {_beats(beats)}",
            "mend Redis first: without it nothing is planned, and nobody can be asked"
            if staff is None
            else _have_it_planned(staff)
            if beats
            else "start `celery -A worker.app beat`, exactly one, and a worker that takes from `control`",
        )
    else:
        yield ok("beat", f"the last plan ended {late_s:.1f} s ago; {_beats(beats)}")
    if beats is not None and beats > 1:
        yield warning(
            "beat",
            f"{_beats(beats)}: no harm, but each plan is asked for so many times",
            "one is enough, restarted by its supervisor",
        )


def _have_it_planned(staff: LiveWorkers) -> str:
    if planners := [name for name, queues in staff.workers.items() if CONTROL in queues]:
        return (
            f"look into the log of {', '.join(planners)}, which takes from `control`: `message_refused` means that beat lacks "
            "the workers' REFRESHD_MESSAGE_KEYS; nothing at all, that they work elsewhere: compare REFRESHD_DATABASE_URL"
        )
    return f"start a worker that takes from `control`: `{STANDARD_WORKER}`"


def _beats(beats: int | None) -> str:
    if beats is None:
        return "beats not checked: Redis is away"
    return "no beat answers" if not beats else "1 beat is alive" if beats == 1 else f"{beats} beats are alive"


def check_webhooks(here: AppContext) -> Iterator[CheckResult]:
    """Check that endpoints accept their messages."""
    try:
        configured = {one.name for one in here.endpoints}
    except RefreshdError as error:
        yield failed("webhooks", str(error), "correct the setting that it names")
        return
    backlogs = here.outbox.backlog()
    for one in backlogs:
        if one.dead_lettered or one.last_error:
            yield warning(
                "webhooks",
                f"{one.endpoint}: {one.waiting:,} waiting, {one.dead_lettered:,} dead-lettered"
                + (f"; the last attempt got: {one.last_error}" if one.last_error else ""),
                "`refreshd webhooks test` shows whether it accepts one now, `refreshd webhooks retry` sends dead-lettered "
                "messages again"
                if one.endpoint in configured
                else "REFRESHD_WEBHOOK_URL names it no more: its messages are dead-lettered in time",
            )
    if configured and not any(one.dead_lettered or one.last_error for one in backlogs):
        yield ok("webhooks", ", ".join(sorted(configured)))


def check_pauses(here: AppContext) -> Iterator[CheckResult]:
    """List the pauses in force."""
    found, now = here.pauses.all(), here.clock.now()
    for one in found[:PAUSES_NAMED_MAX]:
        why = f": {one.reason}" if one.reason else ""
        yield warning(
            "pauses",
            f"{one.what} is paused for {now - one.paused_at:.0f} s, by {one.actor}@{one.host}{why}",
            f"`refreshd resume {one.option}` when the time has come",
        )
    if len(found) > PAUSES_NAMED_MAX:
        yield warning(
            "pauses", f"... and {len(found) - PAUSES_NAMED_MAX:,} more", "`refreshd pause` names them all"
        )


def check_proofs(here: AppContext) -> Iterator[CheckResult]:
    """Count the accounts whose proof of possession (DPoP) can't be made, or is refused."""
    failing = text(
        "SELECT provider, reason, count(*) AS accounts FROM account "
        "WHERE status IN ('degraded', 'reauthorize', 'misconfigured') "
        "AND reason IN ('dpop_key_unfit', 'dpop_key_mismatch', 'invalid_dpop_proof', 'dpop_nonce_required') "
        "GROUP BY provider, reason ORDER BY provider, reason"
    )
    with reading(here.engine) as connection:
        rows = connection.execute(failing).all()
    for provider, reason, accounts in rows:
        yield warning(
            "proofs of possession",
            f"{provider}: {accounts:,} {'account' if accounts == 1 else 'accounts'}: {message_of(reason)}",
            f"`refreshd accounts list --status misconfigured --provider {provider}`, then `refreshd explain ACCOUNT`"
            if reason != "dpop_nonce_required"
            else "`refreshd explain ACCOUNT`; does something in between take the header DPoP-Nonce away?",
        )


def check_workers(here: AppContext, staff: LiveWorkers | None) -> Iterator[CheckResult]:
    """Check that a worker takes from every queue."""
    workers = staff.workers if staff else {}
    taken = {queue for queues in workers.values() for queue in queues}
    lacking = [queue for queue in NEEDED_QUEUES if queue not in taken]
    if uses_callbacks(here.engine) and CALLBACK not in taken:
        lacking.append(CALLBACK)
    if lacking:
        yield failed(
            "workers",
            f"no worker takes from {', '.join(lacking)}",
            f"start `{STANDARD_WORKER}`" + (f" and `{CALLBACK_WORKER}`" if CALLBACK in lacking else ""),
        )
    if workers:
        words = "; ".join(f"{name} takes {', '.join(queues)}" for name, queues in workers.items())
        yield ok("workers", words)
    for name in staff.namesakes if staff else ():
        yield warning(
            "workers",
            f"more than one worker is called {name}: Flower shows one of them, and they share one liveness file",
            "give each a name of its own: `celery -A worker.app worker -n refresh@%h ...`, `-n callback@%h ...`",
        )
    hosts = sorted({name.rpartition("@")[2] for name in workers})
    if is_sqlite(here.engine) and len(hosts) > 1:
        yield failed(
            "workers",
            f"workers on {len(hosts)} machines ({', '.join(hosts)}), and the database is a SQLite file: they do not share it",
            "use PostgreSQL for more than one machine: REFRESHD_DATABASE_URL",
        )


def check_callbacks(here: AppContext) -> Iterator[CheckResult]:
    """Check that every callback that accounts name is known to every callback worker."""
    offers = CallbackHeartbeats(here.redis, here.settings.redis_prefix).offers()
    used = uses(here.engine)
    missing = lacking(used, offers)
    for words in lines_of(missing):
        yield failed(
            "callbacks",
            f"no running worker knows it: {words}" if offers else words,
            "correct the accounts, or list its module in REFRESHD_CALLBACK_MODULES of the callback workers"
            if offers
            else "start a callback worker, or wait until it has imported its modules: its log says how far it is",
        )
    for worker, offer in offers.items():
        for where, why in offer.problems.items():
            yield warning("callbacks", f"{worker}: {where}: {why}", "mend it: nothing of it can be run")
    for use in used:
        lacks = [worker for worker, offer in offers.items() if use.name not in offer.callbacks]
        if lacks and len(lacks) < len(offers):
            yield failed(
                "callbacks",
                f"{use.name}: not known to {', '.join(lacks)}, which may be given it: the queue is shared",
                "give every callback worker the same REFRESHD_CALLBACK_MODULES and REFRESHD_CALLBACKS_FILE; restart them",
            )
    if used and not missing:
        yield ok("callbacks", ", ".join(f"{one.name}: {one.shown}" for one in used))
