"""One run: disturb, wait until readers find every token again, leave a quiet while, and so on; then judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sqlmodel import Session, col, select

from benchmarks.chaos.disturbances import DISTURBANCES, ON_POSTGRES, Disturbance, everyday_faults
from benchmarks.chaos.reading import Missing, Reader
from benchmarks.chaos.stage import CALL_TIMEOUT_S, LIFETIME_S, Stage
from models.tables.account import Status, fingerprint
from models.tables.attempt import Attempt
from models.token import Secret
from tests.support.providers.grants import refresh_token
from tests.support.waiting import wait_until
from worker.redis.client import connect
from worker.scheduling.planner import HOLD_S

#: A message that was lost with its process or its Redis is sent again after the planner's claim; then a plan,
#: a call and the publishing.
DOCUMENTED_RECOVERY_S: Final = HOLD_S + CALL_TIMEOUT_S + 5
#: A token whose refresh a disturbance prevented is missed when it ends, not before.
CALM_S: Final = LIFETIME_S + 2
#: After calm has come back, and before the next disturbance: here no token may be missing.
QUIET_S: Final = (5.0, 15.0)
#: At the end every account has this long to be well.
END_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """One disturbance, and how long readers felt it. Seconds."""

    name: str
    lasted_s: float
    #: From its begin to the last read that found no token; 0 where no reader noticed.
    recovered_s: float
    missing: int


@dataclass
class Outcome:
    """What a run found."""

    stage: Stage
    reader: Reader
    seconds: float = 0.0
    recoveries: list[Recovery] = field(default_factory=list)
    between: list[Missing] = field(default_factory=list)
    late: list[Missing] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    answers_lost: list[str] = field(default_factory=list)


def run(stage: Stage, *, minutes: float, say: Callable[[str], None]) -> Outcome:
    """Disturb for so many minutes and judge."""
    reader = Reader(lambda: connect(stage.redis.url), stage.world.stores.keys, stage.accounts, stage.losses)
    outcome = Outcome(stage, reader)
    wait_until(lambda: stage.world.all_refreshed(stage.accounts), "every account refreshed once", 120)
    stage.provider.script = everyday_faults(stage)
    reader.start()
    stage.records.start()
    began = time.monotonic()
    quiet_since = began
    for disturb in _deck(stage):
        time.sleep(stage.chance.uniform(*QUIET_S))
        if time.monotonic() - began > minutes * 60:
            break
        begins = time.monotonic()
        outcome.between += [one for one in reader.missing_since(quiet_since) if one.at < begins]
        recovery = _disturb(stage, reader, disturb, begins, outcome)
        outcome.recoveries.append(recovery)
        quiet_since = time.monotonic()
        say(
            f"{begins - began:7.0f} s  {recovery.name:34} {recovery.lasted_s:5.1f} s, felt {recovery.recovered_s:5.1f} s,"
            f" {recovery.missing} reads, {len(stage.losses.reuses_unexplained)} unexplained reuses"
        )
    outcome.between += reader.missing_since(quiet_since)
    outcome.seconds = time.monotonic() - began
    _end(stage, outcome)
    reader.stop()
    stage.records.stop()
    return outcome


def _deck(stage: Stage) -> Iterator[Disturbance]:
    """Every disturbance in turn, each time in another order."""
    while True:
        deck = [*DISTURBANCES, *(ON_POSTGRES if stage.postgres else ())]
        stage.chance.shuffle(deck)
        yield from deck


def _disturb(stage: Stage, reader: Reader, disturb: Disturbance, begins: float, outcome: Outcome) -> Recovery:
    disturb(stage)
    ended = time.monotonic()
    while True:
        missing = reader.missing_since(begins)
        last = max((one.at for one in missing), default=begins)
        now = time.monotonic()
        if reader.looked_at > max(last, ended) + CALM_S or now > ended + DOCUMENTED_RECOVERY_S + CALM_S:
            break
        time.sleep(0.5)
    outcome.late += [one for one in missing if one.at > ended + DOCUMENTED_RECOVERY_S]
    name = disturb.__name__.replace("_", " ")
    return Recovery(name, ended - begins, last - begins, len(missing))


def _end(stage: Stage, outcome: Outcome) -> None:
    """Leave everything alone until every account is well, then stop and compare what both sides hold."""
    stage.provider.script = lambda _: None
    before = stage.world.generations()
    began = time.monotonic()

    def unwell() -> list[str]:
        return [
            account
            for account, row in stage.world.accounts().items()
            if row.generation < before[account] + 2 or row.status != Status.ACTIVE
        ]

    while unwell() and time.monotonic() < began + END_S:
        time.sleep(1)
    outcome.stuck = unwell()
    for name in stage.beats:
        stage.member(name).kill()
    wait_until(lambda: _settled(stage), "every attempt closed", END_S)
    outcome.answers_lost = list(_answers_lost(stage))


def _settled(stage: Stage) -> bool:
    with Session(stage.world.stores.engine) as session:
        is_open = session.exec(select(Attempt.id).where(col(Attempt.closed_at).is_(None)).limit(1)).first()
    queued = stage.world.stores.redis.exists("refresh", "urgent", "control")
    return is_open is None and not queued and not stage.provider.under_way


def _answers_lost(stage: Stage) -> Iterator[str]:
    """Name every answer that reached a living process and is in no row and no history."""
    rows = stage.world.accounts()
    for account, grant in stage.provider.grants.items():
        latest = fingerprint(Secret(refresh_token(account, grant.serial)))
        if rows[account].refresh_fp != latest and account not in stage.losses.mourning:
            yield f"{account}: the provider takes {grant.serial} next, the row holds another"
        received = {attempt.received_fp for attempt in stage.world.attempts(account)}
        for call in grant.calls:
            if call.granted is None or call.fault is not None or stage.losses.expected(call):
                continue
            if fingerprint(Secret(refresh_token(account, call.granted))) not in received:
                yield f"{account}: the answer {call.serial}->{call.granted} is nowhere"
