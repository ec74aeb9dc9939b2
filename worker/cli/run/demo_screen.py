"""The demo's running part: looks, draws, revokes one grant, until the user ends it."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console, RenderableType
from rich.live import Live

from worker.cli.terminal.signals import Interrupts
from worker.cli.terminal.startup import LOOK_S
from worker.clock import wall_clock
from worker.local.demo.accounts import Story
from worker.local.demo.screen import ENDED, RUNS_AGAIN, event_line, screen, short_time, totals
from worker.local.demo.stack import DemoStack
from worker.local.demo.watch import Watcher
from worker.local.supervisor import Change, Killed, ProcessEnded, Restarted
from worker.redis.event_stream import SeenEvent

#: When an owner revokes a grant, so that a person sees what that looks like; sooner where the demo ends sooner.
REVOKED_AFTER_S: Final = 30.0
#: Seconds between two lines about the state, where there is no terminal.
_TOTALS_EVERY_S: Final = 10.0


class DemoShow:
    """Shows a demo that runs: live on a terminal, line by line elsewhere."""

    def __init__(self, console: Console, stack: DemoStack, interrupts: Interrupts) -> None:
        self._console = console
        self._stack = stack
        self._interrupts = interrupts
        self._watcher = Watcher(
            stack.accounts,
            redis=stack.stores.redis,
            keys=stack.stores.keys,
            provider_url=stack.provider_url,
            from_now=stack.goes_on,
        )
        self._began = self._ended = time.monotonic()
        self._picture = self._watcher.look()
        self._to_revoke = [one for one in stack.accounts if one.story is Story.REVOKED]

    @property
    def went_well(self) -> bool:
        """Return whether the provider saw no refresh token twice, and no grant was lost."""
        return not self._picture.reuses and not self._picture.lost

    def run(self, seconds: float | None) -> None:
        """Show until the user asks for the end, or for so many seconds."""
        until = math.inf if seconds is None else self._began + seconds
        revoke_at = self._began + min(REVOKED_AFTER_S, math.inf if seconds is None else seconds / 3)
        on_screen = self._console.is_terminal
        totals_at = self._began + _TOTALS_EVERY_S
        if not on_screen:
            self._say_what_happened()  # until the first look
        with Live(console=self._console, screen=on_screen, auto_refresh=False, transient=True) as live:
            while time.monotonic() < until and not self._interrupts.wait(LOOK_S):
                if self._to_revoke and time.monotonic() >= revoke_at:
                    self._revoke()
                for change in self._stack.supervisor.look():
                    self._watcher.note(_as_event(change))
                self._picture = self._watcher.look()
                if on_screen:
                    live.update(self.screen(), refresh=True)
                    continue
                self._say_what_happened()
                if time.monotonic() >= totals_at:
                    totals_at += _TOTALS_EVERY_S
                    self._console.print(totals(self._picture), soft_wrap=True)
        self._ended = time.monotonic()
        self._watcher.close()

    def sum_up(self) -> None:
        """Print how it went, where everything is, and how it goes on."""
        ran = short_time(self._ended - self._began)
        self._console.print(f"After {ran}: {totals(self._picture)}.", soft_wrap=True)
        self._console.print(
            f"Its files stay in {self._stack.data_dir}; `{as_started()} demo --keep` goes on with them, accounts that you "
            f"added among them. `{as_started()} demo` begins afresh.",
            soft_wrap=True,
            markup=False,
        )

    def _say_what_happened(self) -> None:
        for event in self._picture.new_events:
            self._console.print(event_line(event), soft_wrap=True)

    def screen(self) -> RenderableType:
        """Return the screen as it was looked at last."""
        size = self._console.size
        return screen(
            self._picture,
            self._stack.place(),
            width=size.width,
            height=size.height,
            running_s=time.monotonic() - self._began,
        )

    def _revoke(self) -> None:
        with suppress(httpx.HTTPError):  # the provider is away; the next look tries again
            self._watcher.revoke(self._to_revoke[0])
            self._to_revoke.pop(0)


def _as_event(change: Change) -> SeenEvent:
    """Put what happened to a process among what happened to accounts."""
    now = wall_clock()
    match change:
        case Restarted():
            return SeenEvent(RUNS_AGAIN, change.name, f"process {change.pid}", None, now)
        case ProcessEnded():
            cause = change.cause.partition("ended ")[2]  # the kind says it
            return SeenEvent(ENDED, change.name, f"{cause}, starts again", None, now)
        case Killed():
            return SeenEvent(ENDED, change.name, "killed: it did not stop", None, now)


def as_started() -> str:
    """Return what a shell has to type for `refreshd`: its name where PATH leads to it, else the path that was typed."""
    program = sys.argv[0]
    if Path(program).name != "refreshd":
        return f"{sys.executable} -m worker.cli"
    found = shutil.which("refreshd")
    return "refreshd" if found is not None and Path(found).samefile(program) else shlex.quote(program)
