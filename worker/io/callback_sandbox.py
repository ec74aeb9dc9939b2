"""Runs Python callbacks in processes that hold no key: the worker's side.

A template process imports the operator's modules, with an environment that opens no store; each run is a fork of
it (`worker.callbacks`). Inputs and answer go through a channel of the run's own, so that no account's secret
stays in the template. A template that ends, hangs, or whose files have changed is replaced.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from worker.callbacks.protocol import (
    ANSWER_BYTES,
    ENDED,
    IMPORTING,
    READY,
    Command,
    Described,
    Ended,
    line,
)
from worker.callbacks.template import BOOT
from worker.events import log
from worker.io.callback_output import Captured

#: A module that takes longer to import is left out.
IMPORT_S: Final = 20.0
#: What the template may take beyond a run's hard limit to kill it and to say so.
REPORT_WITHIN_S: Final = 5.0
#: A report holds no more than a description of all callbacks.
_REPORT_BYTES: Final = 4 * 1024 * 1024


class SandboxBroken(Exception):
    """The template ended or does not answer: the run may have been made."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: how its process ended, what it answered, what it printed."""

    ended: Ended
    #: One JSON object; empty where there was no answer, None where it was too long.
    answer: bytes | None
    output: Captured


class Sandbox:
    """One template at a time, and one run at a time in it.

    Args:
        modules: what the operator listed.
        environment: everything that other people's code may see of ours.
        import_s: seconds that the import of one module may take.
    """

    def __init__(
        self, modules: Sequence[str], environment: Mapping[str, str], *, import_s: float = IMPORT_S
    ) -> None:
        self._modules = list(modules)
        self._environment = dict(environment)
        self._import_s = import_s
        self._turn = asyncio.Lock()
        self._template: _Template | None = None
        self._skipped: dict[str, str] = {}
        self._changed_at: dict[str, int] = {}

    async def describe(self) -> Described:
        """Say what there is to run; begins anew where the files have changed.

        Raises:
            SandboxBroken: no template can be started.
        """
        async with self._turn:
            return (await self._current()).described

    async def run(self, command: Command, inputs: bytes, *, on_start: Callable[[], None]) -> Ran:
        """Run one callback that `describe` knows.

        Raises:
            SandboxBroken: the template ended while it ran.
        """
        async with self._turn:
            template = await self._current()
            try:
                return await template.run(command, inputs, on_start=on_start)
            except BaseException:
                await self._drop()
                raise

    async def aclose(self) -> None:
        """End the template."""
        async with self._turn:
            await self._drop()

    async def _current(self) -> _Template:
        template = self._template
        if template is not None and (template.is_over or self._files() != self._changed_at):
            await self._drop()
            self._skipped = {}
        if self._template is None:
            self._template = await self._started()
            self._changed_at = self._files()
        return self._template

    async def _started(self) -> _Template:
        """Start a template; a module that ends it, or that takes too long, is left out of the next one."""
        for _ in range(len(self._modules) + 1):
            template = await _Template.start(self._modules, self._skipped, self._environment)
            try:
                await template.load(self._import_s)
            except SandboxBroken as error:
                await template.end()
                if template.importing is None or template.importing in self._skipped:
                    raise
                self._skipped[template.importing] = str(error)
                log.error("callback_module_left_out", module=template.importing, reason=str(error))
            except BaseException:
                await template.end()
                raise
            else:
                return template
        raise SandboxBroken("no template with these modules stays alive")

    async def _drop(self) -> None:
        template, self._template = self._template, None
        if template is not None:
            await template.end()

    def _files(self) -> dict[str, int]:
        files = self._template.described.files if self._template is not None else ()
        return {file: _changed_at(file) for file in files}


class _Template:
    """One template process."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket, folder: str) -> None:
        self._process = process
        self._control = control
        self._folder = folder
        self.described = Described()
        #: The module that is being imported.
        self.importing: str | None = None

    @classmethod
    async def start(
        cls, modules: Sequence[str], skipped: Mapping[str, str], environment: Mapping[str, str]
    ) -> _Template:
        ours, theirs = socket.socketpair()
        folder = tempfile.mkdtemp(prefix="refreshd-callback-")
        options = {
            "path": [os.path.abspath(part) for part in sys.path],  # noqa: PTH100  ("" is the working directory)
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
        return self._process.returncode is not None

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
                self.described = Described.from_json(content)
                return

    async def run(self, command: Command, inputs: bytes, *, on_start: Callable[[], None]) -> Ran:
        output = Captured()
        channel, theirs = socket.socketpair()
        drain, printed = os.pipe()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
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
            answering = asyncio.create_task(_exchange(channel, inputs))
            try:
                async with asyncio.timeout(command.hard_s + REPORT_WITHIN_S):
                    ended = await self._ended()
                    # The run and all that it started are gone: nothing more is written.
                    return Ran(ended, await answering, await _drained(transport, output))
            except TimeoutError:
                raise SandboxBroken("the template does not answer") from None
            finally:
                answering.cancel()
        finally:
            transport.close()

    async def end(self) -> None:
        """End the process, and whatever of a run is left with it."""
        self._control.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _ended(self) -> Ended:
        kind, content = await self._report()
        if kind != ENDED:
            raise SandboxBroken("the template says what nobody asked")
        return Ended(**content)

    async def _report(self) -> tuple[str, Any]:
        if self._process.stdout is None:
            raise SandboxBroken("the template has no output")
        try:
            text = await self._process.stdout.readline()
            ((kind, content),) = json.loads(text).items() if text else {"": None}.items()
        except (ValueError, AttributeError):
            raise SandboxBroken("the template says what can't be read") from None
        if not text:
            await self._process.wait()
            raise SandboxBroken(self._how_it_ended())
        return kind, content

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code is None:
            return "the template process does not answer"
        if code < 0:
            return f"the template process was ended by {signal.Signals(-code).name}"
        return f"the template process ended with exit code {code}"


class _Feed(asyncio.Protocol):
    """Feeds what arrives to a capture."""

    def __init__(self, output: Captured) -> None:
        self._output = output

    def data_received(self, data: bytes) -> None:
        self._output.feed(data)


async def _exchange(channel: socket.socket, inputs: bytes) -> bytes | None:
    """Give the inputs, take the answer; None where it is too long."""
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    try:
        with suppress(OSError):  # a run that ends before it has read them says so by its end
            writer.write(inputs)
            writer.write_eof()
            await writer.drain()
        answer = bytearray()
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


async def _drained(transport: asyncio.ReadTransport, output: Captured) -> Captured:
    """Wait until everything that was printed has been read: the pipe has an end, for nobody holds it any more."""
    while not transport.is_closing():
        await asyncio.sleep(0)
    return output


def _changed_at(file: str) -> int:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return 0
