"""Runs Python callbacks in processes that hold no key: the worker's side.

A fork server imports the operator's modules, with an environment that opens no store; each run is a fork of it
(`worker.callbacks.sandbox`). Inputs and answer go through a channel of the run's own, so that no account's secret
stays in the fork server. A fork server that ends, hangs, or whose files have changed is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from worker.callbacks.host.fork_server_client import ForkServerClient, Ran, SandboxBroken
from worker.callbacks.sandbox.protocol import Command, Described
from worker.log import log

#: A module that takes longer to import is left out.
IMPORT_S: Final = 20.0


class Sandbox:
    """A pool of fork servers: each makes one run at a time, and another one is started when all of them are busy.

    Args:
        modules: what the operator listed.
        environment: everything that other people's code may see of ours.
        runs: runs at once, and so the most fork servers.
        import_s: seconds that the import of one module may take.
    """

    def __init__(
        self,
        modules: Sequence[str],
        environment: Mapping[str, str],
        *,
        runs: int = 1,
        import_s: float = IMPORT_S,
    ) -> None:
        self._modules = list(modules)
        self._environment = dict(environment)
        self._import_s = import_s
        self._turns = asyncio.Semaphore(runs)
        self._runs = runs
        #: The one that was used last is used next, so that the others may be ended.
        self._idle: list[ForkServerClient] = []
        #: Those that nothing has used since the last look.
        self._unused: set[ForkServerClient] = set()
        self._described: Described | None = None
        self._skipped: dict[str, str] = {}

    async def describe(self) -> Described:
        """Return what there is to run; imports changed files anew, unless every fork server is busy.

        One that no run has used since the last look ends: the burst that it was started for is over.

        Raises:
            SandboxBroken: no fork server can be started.
        """
        if self._described is not None and not self._idle:
            return self._described
        async with self.fork_server() as server:
            unused = [one for one in self._idle if one in self._unused]
            self._idle = [one for one in self._idle if one not in self._unused]
            self._unused = set(self._idle)
            for one in unused:
                await one.end()
            return server.described

    async def run(self, command: Command, inputs: bytes, *, on_start: Callable[[], None]) -> Ran:
        """Run one callback that `describe` knows.

        Raises:
            SandboxBroken: the fork server ended while it ran.
        """
        async with self.fork_server() as server:
            return await server.run(command, inputs, on_start=on_start)

    @asynccontextmanager
    async def fork_server(self, *, deadline: float | None = None) -> AsyncIterator[ForkServerClient]:
        """Yield a fork server that nothing else uses; waits for one until the deadline (the event loop's time).

        Raises:
            TimeoutError: none was ready by then.
            SandboxBroken: none can be started.
        """
        async with asyncio.timeout_at(deadline):
            await self._turns.acquire()
            try:
                server = await self._take()
            except BaseException:
                self._turns.release()
                raise
        reusable = False
        try:
            yield server
            reusable = not server.is_over
        finally:
            try:
                if reusable:
                    self._idle.append(server)
                else:  # before the next run: what hangs in it must not go on beside it
                    await server.end()
            finally:
                self._turns.release()

    async def aclose(self) -> None:
        """End every fork server, each after its run."""
        for _ in range(self._runs):
            await self._turns.acquire()
        while self._idle:
            await self._idle.pop().end()
        for _ in range(self._runs):
            self._turns.release()

    async def _take(self) -> ForkServerClient:
        while self._idle:
            server = self._idle.pop()
            self._unused.discard(server)
            if not (server.is_over or server.is_outdated):
                return server
            if server.is_outdated:
                self._skipped = {}
            await server.end()
        server = await self._started()
        self._described = server.described
        return server

    async def _started(self) -> ForkServerClient:
        """Start a fork server; a module that ends it, or that takes too long, is left out of the next one."""
        for _ in range(len(self._modules) + 1):
            skipped = dict(self._skipped)
            server = await ForkServerClient.start(self._modules, skipped, self._environment)
            try:
                await server.load(self._import_s)
            except SandboxBroken as error:
                await server.end()
                if server.importing is None or server.importing in skipped:
                    raise
                self._skipped[server.importing] = str(error)
                log.error("callback_module_skipped", module=server.importing, reason=str(error))
            except BaseException:
                await server.end()
                raise
            else:
                return server
        raise SandboxBroken("no fork server with these modules stays alive")


async def describe(modules: Sequence[str], environment: Mapping[str, str]) -> Described:
    """Return what modules have to offer, without keeping a fork server.

    Raises:
        SandboxBroken: no fork server can be started.
    """
    sandbox = Sandbox(modules, environment)
    try:
        return await sandbox.describe()
    finally:
        await sandbox.aclose()
