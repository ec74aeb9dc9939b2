"""README from top to bottom, as a newcomer types it: each command block works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.command import refreshd

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "README.md").read_text()
#: Takes the options of redis-cli that the page uses; most machines that run tests have no redis-cli.
REDIS_CLI: Final = """#!/bin/sh
exec "{python}" -c '
import sys, redis
assert sys.argv[1] == "-u"
print(redis.Redis.from_url(sys.argv[2]).execute_command(*sys.argv[3:]))' "$@"
"""
#: Long enough for a slow machine; the demo is ended when the tests are done.
DEMO_S: Final = "280"
TYPED_S: Final = 120


def blocks(heading: str, language: str = "sh") -> str:
    """Return the one block of a section."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    [block] = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder in which `make demo` runs."""
    folder = tmp_path_factory.mktemp("checkout")
    cli = folder / "redis-cli"
    cli.write_text(REDIS_CLI.format(python=sys.executable))
    cli.chmod(0o755)
    with refreshd(folder, "demo", "--seconds", DEMO_S, "--accounts", "3", "--no-flower") as demo:
        demo.wait_for("Accounts")
        yield folder


def typed(script: str, checkout: Path) -> str:
    """Run what a person types, in a shell that has read the demo's file; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    environment |= {"PATH": f"{checkout}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "200"}
    ran = subprocess.run(
        ["sh", "-uc", f". .refreshd/demo/env\n{script}"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TYPED_S,
        check=False,
    )
    assert "not found" not in ran.stderr
    return ran.stdout + ran.stderr


def test_the_page_is_walked_from_the_first_account_to_a_refusal(checkout: Path) -> None:
    added = typed(blocks("Your first account"), checkout)
    assert re.search(r"my-first: refreshed.*: the account works", added), added

    (checkout / "copied.py").write_text(blocks("Read its token", "python"))
    shown = typed(f"{blocks('Read its token')}\n'{sys.executable}' copied.py", checkout)
    tokens = re.findall(r"at[._-][\w.~-]{10,}|[\w.~-]{40,}", shown)
    assert len(tokens) >= 2, shown
    assert "process.env.REDIS_URL" in blocks("Read its token", "js")

    assert '"my-first"' in typed(blocks("The API"), checkout)

    refused = typed(blocks("When a provider says no"), checkout)
    assert "invalid_grant" in refused
    assert "my-first" in refused.splitlines()[-1] or "authorize" in refused


def test_what_runs_for_real_are_commands_that_are_there() -> None:
    targets = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make ([\w-]+)", PAGE, re.MULTILINE)) <= set(targets)
