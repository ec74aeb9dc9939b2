"""The wheel, installed into an empty environment from a package index: it reads, and its users are type-checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.integration.reader.publisher import Publisher
from tests.support.services import RedisServer

READER = Path(__file__).parents[3] / "reader"

READS = """
    import sys

    from refreshd_reader import Reader

    with Reader.from_url(sys.argv[1], prefix=sys.argv[2]) as reader:
        print(reader.get("acct-1").access_token)
    print(sorted({"httpx", "requests"} & sys.modules.keys()))
"""

#: What a user of every part writes.
USER = """
    import asyncio

    import httpx
    import redis

    from refreshd_reader import AsyncReader, NoUsableToken, Reader, ReaderError, Token
    from refreshd_reader.httpx import AsyncTokenAuth, TokenAuth


    def one(url: str) -> str | None:
        with Reader.from_url(url, cache_size=10) as reader, httpx.Client(auth=TokenAuth(reader, "a")) as client:
            try:
                token: Token = reader.get("a", min_lifetime_s=60)
            except ReaderError:
                return None
            reader.report_rejected("a", token.generation, 401)
            newer = reader.wait_for("a", newer_than=token.generation, timeout_s=5)
            get_token = reader.token_source("a")
            return newer.extra.get("instance_url", get_token()) + client.get("https://api.example.com").text


    async def many(url: str) -> list[str]:
        async with AsyncReader.from_url(url) as reader, httpx.AsyncClient(auth=AsyncTokenAuth(reader, "a")):
            found = await reader.get_many(["a", "b"])
            return [str(x) if isinstance(x, NoUsableToken) else x.access_token for x in found.values()]


    def own_client() -> Reader:
        return Reader(redis.Redis())


    asyncio.run(many("redis://localhost"))
"""

MISTAKEN = """
    from refreshd_reader import Reader, Typo
    from refreshd_reader.httpx import AsyncTokenAuth

    reader = Reader.from_url("redis://localhost")
    expires: int = reader.get("a").expires_at
    reader.get(7)
    reader.get("a").acces_token
    AsyncTokenAuth(reader, "a")
"""
MISTAKES = ["attr-defined", "assignment", "arg-type", "attr-defined", "arg-type"]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment that holds the wheel, its extras, what they need, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=READER)
    [wheel] = folder.glob("*.whl")
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"), cwd=folder)
    python = folder / "venv/bin/python"
    # The pip that is here installs it: another one, and bytecode of all that is installed, would cost four seconds.
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    install = [*pip, "install", "--quiet", "--no-compile", f"{wheel}[httpx,requests]"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if (
        installed.returncode
        and "No matching distribution found" in installed.stderr
        and "CI" not in os.environ
    ):
        pytest.skip("no package index can be reached")
    assert installed.returncode == 0, installed.stderr
    return python


def _run(*command: str, cwd: Path) -> str:
    ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _mypy(python: Path, folder: Path, source: str) -> str:
    """Check a user's file strictly, by this environment's mypy, against what the other environment holds."""
    file = folder / "user.py"
    file.write_text(dedent(source))
    command = [
        *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", str(python)),
        *("--cache-dir", str(python.parents[2] / "mypy-cache"), "--no-error-summary", str(file)),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_it_reads(python: Path, server: RedisServer, publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("acct-1", 1)
    said = _run(str(python), "-c", dedent(READS), server.url, publisher.keys.prefix, cwd=tmp_path)
    assert said == "access-acct-1-1\n[]\n"


def test_its_users_pass_mypy_strict(python: Path, tmp_path: Path) -> None:
    assert _mypy(python, tmp_path, USER) == ""


def test_its_users_mistakes_are_found(python: Path, tmp_path: Path) -> None:
    found = _mypy(python, tmp_path, MISTAKEN).splitlines()
    assert [line.rpartition("[")[2].rstrip("]") for line in found] == MISTAKES
