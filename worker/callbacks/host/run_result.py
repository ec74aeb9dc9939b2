"""The limits of one run of a Python callback, and what its end means."""

from __future__ import annotations

import signal
from typing import Any, Final

from msgspec import Struct

from models.answer import Answer, Fault
from worker.callbacks.host.fork_server_client import Ran
from worker.callbacks.host.output import Captured
from worker.callbacks.host.result import EXPECTED, failed, parse
from worker.callbacks.sandbox import protocol
from worker.callbacks.sandbox.limits import CPU_S
from worker.callbacks.sandbox.protocol import Command, Known, RunEnded

#: Between `CallbackTimeout` and the end by force: time to tidy up.
GRACE_S: Final = 5.0
#: ... and never more than this much of a run's time.
GRACE_SHARE: Final = 0.25


def limits(known: Known, *, left_s: float, memory_mb: int) -> Command:
    """Return the limits of a run: the callback's own, else the defaults, and never beyond the deadline."""
    own_s = known.timeout_s if known.timeout_s is not None else left_s
    hard_s = min(own_s + GRACE_S, left_s)
    soft_s = min(own_s, hard_s - min(GRACE_S, hard_s * GRACE_SHARE))
    return Command(known.name, soft_s, hard_s, known.memory_mb or memory_mb)


def reply_of(ran: Ran, command: Command) -> Reply:
    notes = (f"{ran.ended.left} processes that it had left behind were killed",) if ran.ended.left else ()
    if ran.answer is None:
        return Reply(failure=failed("it returned more than 1 MiB").answer, output=ran.output, notes=notes)
    try:
        answer: Any = parse(ran.answer) if ran.answer else None
    except ValueError:
        answer = None
    match answer:
        case {protocol.RETURNED: value}:
            return Reply(value, output=ran.output, notes=notes)
        case {protocol.TIMED_OUT: _}:
            words = (
                f"it ran longer than {command.soft_s:g} s (its soft limit) and was told so by CallbackTimeout"
            )
            failure = Answer(fault=Fault.TIMEOUT, fault_detail=words, spent=True)
        case {protocol.RAISED: {"type": str(kind), "words": str(words), "at": str(at)}}:
            memory = f" (it may take {command.memory_mb} MiB)" if kind == "MemoryError" else ""
            failure = failed(
                f"it raised {kind}{': ' if words else ''}{words}{memory}{f' ({at})' if at else ''}"
            ).answer
        case {protocol.EXITED: code}:
            failure = failed(f"it called sys.exit({'' if code is None else repr(code)})").answer
        case {protocol.UNFIT: str(words)}:
            failure = failed(f"it returned {words}: {EXPECTED}").answer
        case _:
            failure = _ended(ran.ended, command)
    return Reply(failure=failure, output=ran.output, notes=notes)


def _ended(ended: RunEnded, command: Command) -> Answer:
    """Return why there is no answer, by how the process ended."""
    if ended.overtime:
        words = (
            f"it went on after its time was over and was killed after {command.hard_s:g} s (its hard limit)"
        )
        return Answer(fault=Fault.TIMEOUT, fault_detail=words, spent=True)
    if ended.signal is None:
        return failed(f"its process ended with exit code {ended.exit_code} before it returned").answer
    why = {
        signal.SIGKILL: ": the machine had no memory left, or somebody ended it",
        signal.SIGXCPU: f": it used more than {CPU_S} s of CPU",
    }.get(signal.Signals(ended.signal), "")
    return failed(f"its process was ended by {signal.Signals(ended.signal).name}{why}").answer


class Reply(Struct, frozen=True):
    """One run of one callback."""

    #: What it returned, decoded. Beside a failure: what came with it, of which new tokens alone are taken.
    value: object = None
    #: Why it counts as no output.
    failure: Answer | None = None
    #: What it printed.
    output: Captured | None = None
    #: What a person should know beside it.
    notes: tuple[str, ...] = ()
    #: When the run was asked for, epoch seconds, where that was by an earlier attempt.
    asked_at: float | None = None
