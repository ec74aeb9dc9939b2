"""Findings about wrong clocks. Pure; `rules/__init__.py` orders them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from worker.diagnostics.explain.facts import Facts, Finding
from worker.durations import duration

TOLERATED_SKEW_S: Final = 2.0
#: Providers and TLS tolerate about a minute of difference (RFC 7519 section 4.1.4: "no more than a few minutes").
FAR_OFF_S: Final = 60.0
SYNCHRONIZE: Final = "Synchronize the clock of that machine (NTP): `timedatectl` shows whether it is."
#: What a clock of the database that was set back leaves behind.
SET_BACK_REMEDY: Final = (
    "Have the clock right, then `refreshd refresh ACCOUNT --force` for accounts whose readers get 401: what was "
    "scheduled before comes due so much later, and tokens end sooner than it says."
)


def off(clocks: Mapping[str, float]) -> dict[str, float]:
    """Return the processes whose clock is off by more than is tolerated, the worst first."""
    wrong = {process: ahead_s for process, ahead_s in clocks.items() if abs(ahead_s) > TOLERATED_SKEW_S}
    return dict(sorted(wrong.items(), key=lambda one: -abs(one[1])))


def is_far_off(ahead_s: float) -> bool:
    """Return whether a clock is so far off that certificates and assertions made on its machine are refused."""
    return abs(ahead_s) >= FAR_OFF_S


def words_of(process: str, ahead_s: float) -> str:
    """Return by how much a process' clock is off, and what that does."""
    way = "ahead of" if ahead_s > 0 else "behind"
    return (
        f"The clock of {process} is {duration(abs(ahead_s))} {way} Redis'. Plans and messages go by Redis' clock and are "
        "on time; callbacks, readers, certificate checks and logs on that machine go by the wrong one."
    )


def process_clocks(facts: Facts) -> Iterator[Finding]:
    """Return the workers and beats whose clock is off."""
    for process, ahead_s in off(facts.clocks).items():
        yield Finding("worker_clock_skew", words_of(process, ahead_s), SYNCHRONIZE, wrong=False)


def set_back(facts: Facts) -> Iterator[Finding]:
    """Return that the database's clock was set back: what was written before lies in its future."""
    latest = max(facts.planned_at or 0.0, *(one.opened_at for one in facts.attempts), 0.0)
    if latest > facts.now + TOLERATED_SKEW_S:
        yield Finding(
            "clock_set_back",
            f"The database's clock was set back: its latest entries lie {duration(latest - facts.now)} in the future. What was "
            "scheduled before comes due so much later, and a token ends so much sooner than is said here.",
            f"Have the clock right (NTP), then `refreshd refresh {facts.account.id} --force --wait`.",
        )


def clock(facts: Facts) -> Iterator[Finding]:
    """Return that this machine's clock, or Redis', is wrong."""
    if abs(facts.skew_s) > TOLERATED_SKEW_S:
        way = "ahead of" if facts.skew_s > 0 else "behind"
        yield Finding(
            "clock_skew",
            f"This machine's clock is {abs(facts.skew_s):.1f} s {way} the database's. A reader with such a clock takes "
            "good tokens for ended ones, or ended ones for good.",
            "Synchronize the clocks (NTP) of this machine, the connectors and the database: `timedatectl` shows whether "
            "a machine does.",
        )
    if facts.redis is not None and abs(facts.redis.ahead_s) > TOLERATED_SKEW_S:
        way, what = ("ahead of", "early") if facts.redis.ahead_s > 0 else ("behind", "late")
        yield Finding(
            "redis_clock_skew",
            f"Redis' clock is {abs(facts.redis.ahead_s):.1f} s {way} the database's: tokens leave Redis that much too "
            f"{what}.",
            "Synchronize the clocks (NTP) of the machines of Redis and the database.",
        )
