"""README from top to bottom, as a newcomer types it: each block works as it stands.

An environment is in place in the checkout, so that `make` installs nothing; `tests/deploy/test_venv.py` installs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.command import Command, typed
from tests.support.server_process import free_port

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "README.md").read_text()
#: Takes the options of redis-cli that the page uses; most machines that run tests have no redis-cli.
REDIS_CLI: Final = """#!/bin/sh
exec "{python}" -c '
import sys, redis
assert sys.argv[1] == "-u"
print(redis.Redis.from_url(sys.argv[2]).execute_command(*sys.argv[3:]))' "$@"
"""
PROGRAM: Final = """#!/bin/sh
exec "{python}" -m worker.cli "$@"
"""
PYTHON: Final = """#!/bin/sh
exec "{python}" "$@"
"""
TYPED_S: Final = 120
#: The options of a worker that the page writes short.
LONG: Final = {"-P": "pool", "-Q": "queues"}

#: Blocks that are not run here, and what looks at them instead.
LEFT_OUT: Final = {
    "docker compose up -d --build": "needs Docker: tests/deploy/test_compose.py looks at every service",
    "celery -A worker.app worker -n refresh@%h": "tests/deploy/test_service_commands.py starts the commands of compose",
    "const redis = await createClient": "needs npm's redis; the keys and fields are those of the Python block",
}


def blocks(heading: str, language: str = "sh") -> str:
    """Return the one block of a section."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    [block] = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that has the Makefile, and an environment that is in place."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "deploy").mkdir()
    (folder / "deploy/venv.sh").touch()
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    for name, text in {"refreshd": PROGRAM, "redis-cli": REDIS_CLI, "python": PYTHON}.items():
        (programs / name).write_text(text.format(python=sys.executable))
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    return folder


@pytest.fixture(scope="module")
def demo(checkout: Path) -> Iterator[Command]:
    """Have `make demo` run until the tests are done."""
    with typed(checkout, blocks("See it work"), REFRESHD_FLOWER_PORT=str(free_port())) as command:
        command.wait_for("Accounts")
        yield command


def ran(script: str, checkout: Path) -> str:
    """Run what a person types, in a shell that has read the demo's file; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    environment |= {"PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        ["sh", "-uc", f". .refreshd/demo/env\n{script}"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TYPED_S,
        check=False,
    )
    assert "not found" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.usefixtures("demo")
def test_the_page_is_walked_from_the_first_account_to_a_refusal(checkout: Path) -> None:
    added = ran(blocks("Your first account"), checkout)
    assert re.search(r"my-first: refreshed.*: the account works", added), added

    (checkout / "copied.py").write_text(blocks("Read its token", "python"))
    shown = ran(f"{blocks('Read its token')}\n'{sys.executable}' copied.py", checkout)
    tokens = re.findall(r"at[._-][\w.~-]{10,}|[\w.~-]{40,}", shown)
    assert len(tokens) >= 2, shown
    assert "process.env.REDIS_URL" in blocks("Read its token", "js")

    assert '"my-first"' in ran(blocks("The API"), checkout)

    refused = ran(blocks("When a provider says no"), checkout)
    assert "invalid_grant" in refused
    assert "my-first" in refused.splitlines()[-1] or "authorize" in refused


def test_your_own_runs_beside_the_demo_and_takes_the_api_s_first_blocks(
    checkout: Path, demo: Command
) -> None:
    assert demo.process.poll() is None
    beside, first, others, of_keys = api_blocks(str(free_port()))
    with (
        typed(checkout, f". .venv/bin/activate\n{beside}") as provider,
        typed(checkout, blocks("Your own, on this machine"), REFRESHD_FLOWER_PORT=str(free_port())) as up,
    ):
        provider.wait_for("token_url")
        up.wait_for("No accounts yet")
        answers = ran(first + others, checkout)
        for outcome in ("added", "connected", "refreshed", "changed", "failed", "replaced"):
            assert f'"outcome":"{outcome}"' in answers.replace(" ", ""), answers
        assert "did you mean 'client_id'?" in answers
        assert '"access_token":"at.platform-' in answers
        assert '"removed":true' in answers
        keys = ran(f"export REFRESHD_DATA_DIR=$PWD/.refreshd\n{of_keys}", checkout)
        assert "billing" in keys
        assert "error" not in keys
        up.family()


def api_blocks(port: str) -> list[str]:
    """Return the blocks of docs/api.md, with another port for the provider.

    `refreshd up` is the README's here, so the provider's block waits; of the events that follow, what is there is read.
    """
    page = (ROOT / "docs/api.md").read_text()
    page = re.sub(r"^refreshd up &.*", "wait", page, flags=re.MULTILINE)
    page = page.replace("9400", port).replace("curl -N", "curl -sm 2 -N")
    return re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_every_block_is_run_or_left_out_for_a_reason() -> None:
    tried = [
        blocks(name) for name in ("See it work", "Your first account", "When a provider says no", "The API")
    ]
    tried += [
        blocks("Read its token"),
        blocks("Read its token", "python"),
        blocks("Your own, on this machine"),
    ]
    found = re.findall(r"^```(?:sh|python|js)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    others = [one for one in found if one not in tried]
    assert [one for one in others if not any(words in one for words in LEFT_OUT)] == []
    assert len(others) == len(LEFT_OUT)


def test_the_commands_of_machines_of_one_s_own_start_what_compose_starts() -> None:
    composed = [
        one.get("command") for one in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
    ]
    theirs = [
        started(words[2:]) for words in composed if words and words[:2] == ["celery", "--app=worker.app"]
    ]
    ours = [started(line.split()) for line in re.findall(r"^celery -A worker\.app (.*)", PAGE, re.MULTILINE)]
    assert sorted(ours) == sorted(theirs)


def started(words: list[str]) -> tuple[str, str, str]:
    """Return what a command of Celery starts: the program, its pool, and its queues."""
    options = dict(word.lstrip("-").split("=", 1) for word in words if "=" in word)
    options |= {LONG[name]: value for name, value in pairwise(words) if name in LONG}
    return words[0], options.get("pool", ""), options.get("queues", "")


def test_what_runs_for_real_are_commands_that_are_there() -> None:
    targets = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make ([\w-]+)", PAGE, re.MULTILINE)) <= set(targets)
