"""The picture `docs/demo.svg`: a demo that runs for 45 seconds, drawn as a terminal: `python -m docs.generate.demo > docs/demo.svg`."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from worker.cli.run.demo import demo_settings
from worker.cli.run.demo_screen import DemoShow
from worker.cli.terminal.signals import Interrupts
from worker.cli.terminal.startup import Opening
from worker.local.demo.accounts import DEFAULT_NUMBER
from worker.local.demo.stack import DemoStack
from worker.local.demo.workspace import Workspace

#: Long enough for the revoked grant to be seen, and for refreshes of most accounts.
SHOWN_AFTER_S: Final = 45.0
WIDTH: Final = 120
HEIGHT: Final = 32
_FONTS: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
#: GitHub's dark colours, which are legible on its light pages too.
_THEME: Final = TerminalTheme(
    (22, 27, 35),
    (201, 209, 217),
    # black, red, green, yellow, blue, magenta, cyan, white
    [
        *((72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
        *((88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)),
    ],
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.stdout.write(_without_secrets(_drawn(), folder))


def _drawn() -> str:
    """Run a demo in the working folder, and return its screen as SVG.

    Raises:
        RuntimeError: it did not begin.
    """
    settings = demo_settings()
    console = Console(file=sys.stderr, width=WIDTH, height=HEIGHT, force_terminal=False)
    with Interrupts() as interrupts, DemoStack(settings, Workspace(settings.data_dir)) as stack:
        stack.set_the_scene(DEFAULT_NUMBER, keep=False)
        opening = Opening(console, stack, interrupts)
        if not (opening.run(stack.tasks(flower=True)) and opening.wait_until_it_works()):
            raise RuntimeError("the demo did not begin")
        show = DemoShow(console, stack, interrupts)
        show.run(SHOWN_AFTER_S)
        paper = Console(file=io.StringIO(), record=True, width=WIDTH, height=HEIGHT, force_terminal=True)
        paper.print(show.screen())
        secret = stack.login(reveal=True).rpartition(" ")[2]
        stack.stop()
    form = re.sub(r"@font-face \{\{.*?\}\}\n?", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("font-family: Fira Code, monospace", f"font-family: {_FONTS}")
    drawn = paper.export_svg(title="make demo", theme=_THEME, code_format=form, unique_id="demo")
    return drawn.replace(secret, "*" * len(secret))


def _without_secrets(drawn: str, folder: str) -> str:
    """Return the picture without what only this run has: its folder. What is shorter then is not stretched."""
    place = f"{Path(folder).resolve()}/"
    return re.sub(r' textLength="[\d.]+"([^>]*>[^<]*)' + re.escape(place), r"\1", drawn)


if __name__ == "__main__":
    main()
