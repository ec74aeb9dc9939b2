"""Runs Python callbacks in processes that hold no key: the worker's side.

A template process imports the operator's modules, with an environment that opens no store; each run is a fork of
it (`worker.callbacks`). Inputs and answer go through a channel of the run's own, so that no account's secret
stays in the template. A template that ends, hangs, or whose files have changed is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from worker.callbacks.host.fork_server_client import ForkServerClient, Ran, SandboxBroken
from worker.callbacks.sandbox.protocol import Command, Described
from worker.log import log

#: A module that takes longer to import is left out.
IMPORT_S: Final = 20.0


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
        self._template: ForkServerClient | None = None
        self._skipped: dict[str, str] = {}
        self._changed_at: dict[str, int] = {}

    async def describe(self) -> Described:
        """Return what there is to run; begins anew where the files have changed, unless a run is under way.

        Raises:
            SandboxBroken: no template can be started.
        """
        if self._turn.locked() and self._template is not None:
            return self._template.described
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
                ran = await template.run(command, inputs, on_start=on_start)
            except BaseException:
                await self._drop()
                raise
            if template.is_over:  # at once: what hangs in it must not go on beside the next run
                await self._drop()
            return ran

    async def aclose(self) -> None:
        """End the template."""
        async with self._turn:
            await self._drop()

    async def _current(self) -> ForkServerClient:
        if self._template is not None and self._files() != self._changed_at:
            await self._drop()
            self._skipped = {}
        if self._template is not None and self._template.is_over:
            await self._drop()
        if self._template is None:
            self._template = await self._started()
            self._changed_at = self._files()
        return self._template

    async def _started(self) -> ForkServerClient:
        """Start a template; a module that ends it, or that takes too long, is left out of the next one."""
        for _ in range(len(self._modules) + 1):
            template = await ForkServerClient.start(self._modules, self._skipped, self._environment)
            try:
                await template.load(self._import_s)
            except SandboxBroken as error:
                await template.end()
                if template.importing is None or template.importing in self._skipped:
                    raise
                self._skipped[template.importing] = str(error)
                log.error("callback_module_skipped", module=template.importing, reason=str(error))
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
        return {} if self._template is None else changed_at(self._template.described.files)


async def describe(modules: Sequence[str], environment: Mapping[str, str]) -> Described:
    """Return what modules have to offer, without keeping a template.

    Raises:
        SandboxBroken: no template can be started.
    """
    sandbox = Sandbox(modules, environment)
    try:
        return await sandbox.describe()
    finally:
        await sandbox.aclose()


def changed_at(files: Sequence[str]) -> dict[str, int]:
    """Return when each file was changed last, nanoseconds; 0 for one that is not there."""
    return {file: _changed_at(Path(file)) for file in files}


def _changed_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
