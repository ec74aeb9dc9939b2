"""The calls of one process that are under way, and when the next part of a large message begins."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final

from worker.refresh.attempt import Result

#: A message of many accounts is refreshed so many at a time, each part with its own leases, claims and commit. Half as many
#: take a quarter more CPU for SQL.
AT_ONCE: Final = 100
#: So many calls begin in one turn of the event loop, at whose end their bytes leave: the time between the last look at a
#: deadline and the first byte grows with them.
CALLS_A_TURN: Final = 50
#: A later part of a message begins when it and the calls that wait for answers are so many at most, those counted that
#: are being opened. Fewer leave the event loop idle; more would need more connections, and gain nothing (docs/decisions/0034).
CALLS_WANTED: Final = 800
#: A later part waits for calls before it, but no longer than this, seconds: some of them may hang.
NEXT_AFTER_S: Final = 1.0
#: While more calls are under way in one process, it takes no further planned group.
CALLS_MAX: Final = 1_000


def parts(accounts: Sequence[tuple[str, int]]) -> list[Sequence[tuple[str, int]]]:
    """Return the accounts of a message in parts that begin one after another."""
    return [accounts[start : start + AT_ONCE] for start in range(0, len(accounts), AT_ONCE)]


class UnderWay:
    """Counts calls that wait for their answers, and holds the tasks that end with the answers stored."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Result]] = set()
        self._calls = 0
        #: Parts that wait for their turn, each with the number of its accounts.
        self._turns: deque[tuple[asyncio.Future[None], int]] = deque()

    async def room(self) -> None:
        """Wait until a planned group may begin."""
        while len(self._tasks) >= CALLS_MAX:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def begin(self, accounts: int) -> None:
        """Count calls that are about to be made."""
        self._calls += accounts

    async def turn(self, accounts: int) -> None:
        """Count the calls of a later part once it may begin: few calls wait for answers, or it has waited long.

        Parts go in the order in which they came.
        """
        if not self._turns and self._calls + accounts <= CALLS_WANTED:
            return self.begin(accounts)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append((turn, accounts))
        try:
            await asyncio.wait([turn], timeout=NEXT_AFTER_S)
        except asyncio.CancelledError:
            self._give_up(turn, accounts)
            raise
        if not turn.done():
            self._give_up(turn, accounts)
            self.begin(accounts)
        return None

    def answered(self, accounts: int = 1) -> None:
        """Note calls that ended, or are not made after all."""
        self._calls -= accounts
        while self._turns and self._calls + self._turns[0][1] <= CALLS_WANTED:
            turn, wanted = self._turns.popleft()
            self.begin(wanted)
            turn.set_result(None)

    def _give_up(self, turn: asyncio.Future[None], accounts: int) -> None:
        if turn.done():
            self.answered(accounts)
        else:
            self._turns.remove((turn, accounts))

    def start(self, finishing: Iterable[Coroutine[Any, Any, Result]]) -> list[asyncio.Task[Result]]:
        """Start a task for each account: a group that is cancelled drops no answer."""
        tasks = [
            asyncio.create_task(one if nth < CALLS_A_TURN else _later(one, nth // CALLS_A_TURN))
            for nth, one in enumerate(finishing)
        ]
        for task in tasks:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return tasks

    async def drain(self) -> None:
        """Wait until every call that is under way has ended, and its answer is stored or safe."""
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _later(one: Coroutine[Any, Any, Result], turns: int) -> Result:
    """Begin so many turns of the event loop later."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return await one
