"""One fork server, as the worker sees it: started, given commands, ended.

Inputs and answer go through a channel of the run's own, so that no account's secret stays in the fork server.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from worker.callbacks.host.output import Captured
from worker.callbacks.sandbox.fork_server import BOOT
from worker.callbacks.sandbox.protocol import (
    ANSWER_BYTES,
    ENDED,
    IMPORTING,
    READY,
    Command,
    Described,
    RunEnded,
    line,
)
from worker.providers.response.body import holds_whole_object

#: What the fork server may take beyond a run's hard limit to kill it and to report it.
REPORT_WITHIN_S: Final = 5.0
#: What was printed is in the pipe when the run is over; only a process that escaped keeps the pipe open.
DRAINED_WITHIN_S: Final = 1.0
#: A worker that was paused, or whose fork server ended, may find the answer waiting in the channel.
ANSWERED_WITHIN_S: Final = 1.0
#: A fork server whose control socket is closed kills its run first.
END_WITHIN_S: Final = 3.0
#: A report holds no more than a description of all callbacks.
_REPORT_BYTES: Final = 4 * 1024 * 1024


class SandboxBroken(Exception):
    """The fork server ended or does not answer: the run may have been made."""


class Ran(Struct, frozen=True):
    """One run: how its process ended, what it answered, what it printed."""

    ended: RunEnded
    #: One JSON object; empty where there was no answer, None where it was too long.
    answer: bytes | None
    output: Captured


class ForkServerClient:
    """One fork server."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket, folder: str) -> None:
        self._process = process
        self._control = control
        self._folder = folder
        self.described = Described()
        self._loaded = False
        self._changed_at: dict[str, int] = {}
        self._stuck = False
        #: The module that is being imported.
        self.importing: str | None = None

    @classmethod
    async def start(
        cls, modules: Sequence[str], skipped: Mapping[str, str], environment: Mapping[str, str]
    ) -> ForkServerClient:
        ours, theirs = socket.socketpair()
        folder = tempfile.mkdtemp(prefix="refreshd-callback-")
        options = {
            "path": _import_path(),
            "modules": list(modules),
            "skipped": dict(skipped),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-c", BOOT, json.dumps(options), str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                env={**environment, "TMPDIR": folder},
                cwd=folder,
                limit=_REPORT_BYTES,
                start_new_session=True,
            )
        finally:
            theirs.close()
        return cls(process, ours, folder)

    @property
    def is_over(self) -> bool:
        """Return whether nothing can be run in it any more."""
        return self._stuck or self._process.returncode is not None

    @property
    def is_outdated(self) -> bool:
        """Return whether a file that it imported has changed."""
        return _changed_at(self.described.files) != self._changed_at

    async def load(self, import_s: float) -> None:
        """Wait until everything is imported.

        Raises:
            SandboxBroken: it ended, or one import took too long.
        """
        while True:
            try:
                kind, content = await asyncio.wait_for(self._report(), import_s)
            except TimeoutError:
                raise SandboxBroken(f"importing it took longer than {import_s:g} s") from None
            if kind == IMPORTING:
                self.importing = str(content)
            elif kind == READY:
                self.described, self._loaded = Described.from_json(content), True
                self._changed_at = _changed_at(self.described.files)
                return

    async def run(self, command: Command, inputs: bytes, *, on_start: Callable[[], None]) -> Ran:
        output = Captured()
        channel, theirs = socket.socketpair()
        drain, printed = os.pipe()
        loop = asyncio.get_running_loop()
        transport, feed = await loop.connect_read_pipe(
            lambda: _Feed(output), os.fdopen(drain, "rb", buffering=0)
        )
        try:
            try:
                on_start()
                socket.send_fds(self._control, [line(asdict(command))], [theirs.fileno(), printed])
            except OSError:
                raise SandboxBroken(self._how_it_ended()) from None
            finally:
                theirs.close()
                os.close(printed)
            arrived = bytearray()
            answering = asyncio.create_task(_exchange(channel, inputs, arrived))
            try:
                async with asyncio.timeout(command.hard_s + REPORT_WITHIN_S):
                    ended = await self._ended()
                    # The run and all that it started are gone: nothing more is written.
                    answer = await answering
                    await feed.over()
                    return Ran(ended, answer, output)
            except TimeoutError:
                # A machine that is too busy to end it in time, and to say so: with this process, the run ends, too.
                self._stuck = True
                return Ran(RunEnded(overtime=True), await _late(answering, arrived), output)
            except SandboxBroken:
                answer = await _late(answering, arrived)
                if not answer:
                    raise
                self._stuck = True
                return Ran(RunEnded(), answer, output)
            finally:
                answering.cancel()
        finally:
            transport.close()

    async def end(self) -> None:
        """End the process, and whatever of a run is left with it."""
        self._control.close()
        if self._loaded and not self._stuck:
            await self._wait()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._wait()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _wait(self) -> None:
        """Wait for its end, and not for ever: whatever happens to it, the worker goes on."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), END_WITHIN_S)

    async def _ended(self) -> RunEnded:
        kind, content = await self._report()
        if kind != ENDED:
            raise SandboxBroken("the fork server reported something other than the end of the run")
        return RunEnded(**content)

    async def _report(self) -> tuple[str, Any]:
        if self._process.stdout is None:
            raise SandboxBroken("the fork server has no output")
        try:
            text = await self._process.stdout.readline()
            ((kind, content),) = json.loads(text).items() if text else {"": None}.items()
        except (ValueError, AttributeError):
            raise SandboxBroken("the fork server's report can't be read") from None
        if not text:
            await self._wait()
            raise SandboxBroken(self._how_it_ended())
        return kind, content

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        which = "the process that callbacks run in" if self._loaded else "importing it: its process"
        if code is None:
            return f"{which} does not answer"
        if code < 0:
            return f"{which} was ended by {signal.Signals(-code).name}"
        return f"{which} ended with exit code {code}"


class _Feed(asyncio.Protocol):
    """Feeds what arrives to a capture."""

    def __init__(self, output: Captured) -> None:
        self._output = output
        self._over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._output.feed(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._over.set()

    async def over(self) -> None:
        """Wait until everything has been read: the pipe ends when no process holds it open."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), DRAINED_WITHIN_S)


async def _late(answering: asyncio.Task[bytes | None], arrived: bytearray) -> bytes:
    """Return an answer that is there although the end of its run is not known, empty unless it is whole."""
    await asyncio.wait({answering}, timeout=ANSWERED_WITHIN_S)
    return bytes(arrived) if holds_whole_object(bytes(arrived)) else b""


async def _exchange(channel: socket.socket, inputs: bytes, answer: bytearray) -> bytes | None:
    """Send the inputs, take the answer, and put it into `answer` as it arrives; None where it is too long."""
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    try:
        with suppress(OSError):  # a run may end before it has read them
            writer.write(inputs)
            writer.write_eof()
            await writer.drain()
        while chunk := await _read(reader):
            answer += chunk
            if len(answer) > ANSWER_BYTES:
                return None
        return bytes(answer)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65_536)
    except OSError:
        return b""


def _changed_at(files: Sequence[str]) -> dict[str, int]:
    """Return when each file was changed last, nanoseconds; 0 for one that is not there."""
    return {file: _modified_ns(Path(file)) for file in files}


def _modified_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _import_path() -> list[str]:
    """Return where this process imports from; an empty entry is its working directory."""
    return [str(Path(part).absolute()) for part in sys.path]
