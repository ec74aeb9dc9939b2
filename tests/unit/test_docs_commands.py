"""Each `refreshd` line of a page's shell blocks names a command that there is, with options that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from worker.cli import app
from worker.cli.terminal.lazy import LazyCommand

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "reader/README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK: Final = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
#: What stands in quotes, or is put in, is no option; nor is a part that may be left out.
QUOTED: Final = re.compile(r"""\$\([^)]*\)|'[^']*'?|"[^"]*"?|\[[^]]*\]""")
#: Behind an option, `refreshd` is its value: a namespace, a user, a database.
LINE: Final = re.compile(r"(?:.*[\s;|&(])?(?<!-[a-z] )(?<!-namespace )(?<!--user )refreshd ([a-z-].*)")
#: Of every command.
COMMON: Final = frozenset({"--help", "--version", "--verbose", "-v"})


def refreshd_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words behind `refreshd` of each line, up to what pipes or redirects it."""
    for block in BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            plain = re.sub(r"(^|\s)#.*", "", QUOTED.sub("X", line))
            if found := LINE.match(plain):
                yield re.split(r"[|&;<>()`]", found[1])[0].split()


@cache
def loaded(path: tuple[str, ...]) -> Any:
    """Return the command at a path, None where there is none."""
    command: Any = get_command(app) if not path else None
    if path:
        group = loaded(path[:-1])
        command = getattr(group, "commands", {}).get(path[-1])
    return command.load() if isinstance(command, LazyCommand) else command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_of_shell_blocks_exist(page: Path) -> None:
    wrong = []
    for words in refreshd_lines(page):
        path: tuple[str, ...] = ()
        for word in words:
            if not hasattr(loaded(path), "commands") or loaded((*path, word)) is None:
                break
            path = (*path, word)
        known = {name for one in loaded(path).params for name in (*one.opts, *one.secondary_opts)} | COMMON
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        if not path or hasattr(loaded(path), "commands") or options - known:
            wrong.append(" ".join(words))
    assert wrong == []


def test_there_are_such_lines() -> None:
    assert sum(len(list(refreshd_lines(page))) for page in PAGES) > 60
