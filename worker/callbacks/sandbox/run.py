"""One run of one callback, in a process of its own: inputs in, function called, answer out."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pydantic import BaseModel

from models.callback import OUTPUT_FIELDS, CallbackInput
from refreshd_reader.callback_output import LEFT_OUT, as_json
from worker.callbacks.sandbox.protocol import (
    ANSWER_BYTES,
    EXITED,
    RAISED,
    RETURNED,
    TIMED_OUT,
    UNFIT,
    Command,
    line,
)
from worker.callbacks.sandbox.registry import Registered

_CHUNK = 65_536
#: A coroutine that blocks the loop is not cancelled by it; it is interrupted so much later.
_ALARM_AFTER_S = 0.5


class CallbackTimeout(TimeoutError):
    """The callback's time is nearly over: it may tidy up now, and is killed a few seconds later."""


def run(callback: Registered, command: Command, channel: socket.socket) -> NoReturn:
    """Read the inputs from the channel, run the callback, write the answer to it, and end this process."""
    me = os.getpid()
    answer = _answer(callback, command, _inputs(channel))
    if os.getpid() != me:
        os._exit(0)  # the callback forked, and its child came back here too: it has no answer to give
    written = line(answer)
    # The worker reads no further; what is longer would end here as a broken pipe, among what the callback printed.
    channel.sendall(written if len(written) <= ANSWER_BYTES else line({UNFIT: "more than 1 MiB"}))
    channel.close()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the callback may have closed or replaced it: the answer is sent by now
            stream.flush()
    # Not sys.exit: threads and exit handlers of the callback's libraries must not keep it here.
    os._exit(0)


def _inputs(channel: socket.socket) -> CallbackInput:
    received = bytearray()
    while chunk := channel.recv(_CHUNK):
        received += chunk
    return CallbackInput.model_validate_json(bytes(received))


def _answer(callback: Registered, command: Command, inputs: CallbackInput) -> dict[str, Any]:
    returned: list[object] = []
    try:
        _alarm_after(command.soft_s + (_ALARM_AFTER_S if _is_async(callback) else 0))
        value = callback.function(inputs)
        if inspect.isawaitable(value):
            asyncio.run(_within(value, command.soft_s, returned))
        else:
            returned.append(value)
        _no_alarm()
    except BaseException as error:  # noqa: BLE001  (whatever a callback raises is reported)
        if not returned:
            return _without_answer(error, callback, command)
        # It had returned already, and what it left in its event loop did not end, or ended badly.
        _no_alarm()
    return _as_answer(returned[0])


def _without_answer(error: BaseException, callback: Registered, command: Command) -> dict[str, Any]:
    """Return why a callback returned nothing."""
    if isinstance(error, CallbackTimeout):
        _print(error, callback)
        return {TIMED_OUT: command.soft_s}
    if isinstance(error, SystemExit):
        return {EXITED: error.code if isinstance(error.code, int) or error.code is None else str(error.code)}
    _no_alarm()
    at = _print(error, callback)
    return {RAISED: {"type": type(error).__name__, "words": str(error), "at": at}}


def _as_answer(value: object) -> dict[str, Any]:
    try:
        answer = {RETURNED: as_json(value, _plain)}
    except Exception as error:  # noqa: BLE001  (a mapping of theirs may raise what it likes)
        return {UNFIT: f"a {type(value).__name__} that is no JSON ({error})"}
    return answer if len(line(answer)) <= ANSWER_BYTES else {RETURNED: _without_ballast(answer[RETURNED])}


def _plain(value: object) -> object:
    if not isinstance(value, BaseModel):
        return value
    try:
        return value.model_dump(exclude_unset=True, warnings=False)
    except Exception:  # noqa: BLE001  (one field of it can't be written: the others can)
        return {name: getattr(value, name) for name in value.model_fields_set}


def _without_ballast(returned: Any) -> Any:
    """Keep what an output is made of, where everything that was returned is too long to be taken."""
    if not isinstance(returned, dict):
        return returned
    kept = {name: returned[name] for name in OUTPUT_FIELDS if name in returned}
    return kept | {LEFT_OUT: f"more than {ANSWER_BYTES // 1024} KiB"}


async def _within(work: Awaitable[object], soft_s: float, returned: list[object]) -> None:
    """Put into `returned` what comes in time: the end of the event loop may take longer, and fail."""
    try:
        async with asyncio.timeout(soft_s) as limit:
            returned.append(await work)
    except TimeoutError as error:
        if limit.expired():
            raise CallbackTimeout from error
        raise


def _is_async(callback: Registered) -> bool:
    return inspect.iscoroutinefunction(inspect.unwrap(callback.function))


def _alarm_after(seconds: float) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise CallbackTimeout

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _no_alarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _print(error: BaseException, callback: Registered) -> str:
    """Print the traceback from the callback's own first line on, and say at which of its lines it was."""
    own = callback.where.rpartition(":")[0]
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != own:
        trace = trace.tb_next
    traceback.print_exception(error.with_traceback(trace or error.__traceback__))
    at = ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == own:
            at = f"{Path(own).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    # It was never entered: its parameters do not fit.
    return at or Path(callback.where).name
