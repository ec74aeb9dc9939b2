"""How `up` and `demo` begin and end on a terminal: what starts, where it is, and how everything stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from worker.cli.terminal.process_messages import say
from worker.cli.terminal.signals import Interrupts
from worker.errors import Unreachable
from worker.local.stack import Stack, Step, Task

#: How often processes are looked at.
LOOK_S: Final = 0.25
#: Importing Celery takes seconds on a slow machine; a stack that does not plan after this long is broken.
READY_DEADLINE_S: Final = 90.0

_NAME_WIDTH: Final = 10


class Opening:
    """Starts a stack step by step, and says so."""

    def __init__(self, console: Console, stack: Stack, interrupts: Interrupts) -> None:
        self._console = console
        self._stack = stack
        self._interrupts = interrupts

    def run(self, tasks: Sequence[Task]) -> bool:
        """Do one step after the other; return False as soon as the user asks for the end."""
        for words, do in tasks:
            with self._console.status(f"{words} ..."):
                step = do()
            self.show(step)
            if self._interrupts.asked is not None:
                return False
        return True

    def show(self, step: Step) -> None:
        mark = "✓" if self._console.encoding.startswith("utf") else "*"
        line = Text.assemble((f"  {mark} ", "green"), (step.name.ljust(_NAME_WIDTH), "bold"), step.detail)
        self._console.print(line, soft_wrap=not self._console.is_terminal)
        if step.note:
            self._console.print(Text(f"    {' ' * _NAME_WIDTH}{step.note}", style="yellow"))

    def wait_until_it_works(self) -> bool:
        """Wait until a plan went all the way: beat, broker, worker, database; False where it did not, or we end."""
        with self._console.status("Waiting for the first plan ..."):
            for _ in range(round(READY_DEADLINE_S / LOOK_S)):
                for change in self._stack.supervisor.look():
                    self._console.print(say(change, self._stack.logs))
                if self._works():
                    return True
                if self._interrupts.wait(LOOK_S):
                    return False
        self._console.print(
            f"Nothing was planned within {READY_DEADLINE_S:.0f} s. What the workers say is in {self._stack.logs}.",
            style="red",
            markup=False,
        )
        return False

    def _works(self) -> bool:
        try:
            return self._stack.works()
        except Unreachable:
            return False


def title(console: Console, name: str, stack: Stack) -> None:
    """Print what starts, and in which folder."""
    console.print(Text.assemble((f"\n{name}", "bold"), f" in {stack.data_dir}\n"), soft_wrap=True)
    if stack.leftovers_ended:
        console.print(f"Ended {stack.leftovers_ended} processes of an earlier run that was killed.\n")


def close(console: Console, stack: Stack) -> None:
    """Stop everything, and say what had to be killed."""
    with console.status("Stopping: calls under way are finished and stored. Ctrl-C again: do not wait."):
        for killed in stack.stop():
            console.print(say(killed, stack.logs))
