"""docs/redis.md and both READMEs: what they show works as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from joserfc.jwk import ECKey

import refreshd_reader
from refreshd_reader import AccountState, Keys, ReaderError, Rejection
from refreshd_reader.errors import SETTLED, no_token
from tests.integration.reader.acl_server import USERS, AclRedisServer, refusals
from tests.integration.reader.api import Api
from tests.integration.reader.publisher import Publisher
from worker.local.redis_server import EmbeddedServer

ROOT = Path(__file__).parents[3]
REDIS = (ROOT / "docs/redis.md").read_text()
README = (ROOT / "reader/README.md").read_text()
#: Stand in the README where a connector has its own.
ADDRESS = "redis://refreshd-connector:PASSWORD@redis:6379/0"
API = "https://api.example.com"


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def publisher(administrator: redis.Redis) -> Publisher:
    made = Publisher(administrator, Keys().prefix)
    made.publish("acct-1", 7)
    made.state("acct-9", AccountState("reauthorize", 7, "invalid_grant", since=1795485300))
    return made


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    server.good = {"access-acct-1-7"}
    yield server
    server.close()


def test_every_command_works_for_a_connector(
    acl_server: AclRedisServer, administrator: redis.Redis, publisher: Publisher
) -> None:
    commands = [line for block in _blocks(REDIS, "redis") for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        with redis.Redis.from_url(acl_server.url_as("connector"), protocol=2) as client:
            assert client.execute_command(*command.split())
    assert publisher.reports() == [Rejection("acct-1", 7, 401)]
    assert refusals(administrator) == []


def test_the_connectors_rights_are_those_of_the_file() -> None:
    [shown] = _blocks(REDIS, "acl")
    assert shown.strip() in USERS.read_text().splitlines()


@pytest.mark.usefixtures("publisher")
def test_the_connectors_rights_can_be_narrowed_to_some_accounts(
    acl_server: AclRedisServer, administrator: redis.Redis
) -> None:
    [line] = _blocks(REDIS, "acl")
    narrow = line.replace("${CONNECTOR_PASSWORD}", "narrow")
    for key in ("token", "account"):
        narrow = narrow.replace(f"%R~refreshd:{key}:*", f"%R~refreshd:{key}:{{acct-1*")
    client: Any = administrator
    client.execute_command("ACL", "SETUSER", "narrow", *narrow.split()[2:])
    with refreshd_reader.Reader.from_url(f"redis://narrow:narrow@127.0.0.1:{acl_server.port}/0") as reader:
        assert reader.get("acct-1").generation == 7
        with pytest.raises(refreshd_reader.RedisRefused):
            reader.get("acct-9")
    administrator.acl_deluser("narrow")


@pytest.mark.parametrize("block", _blocks(README, "python"))
def test_the_readme_runs(
    block: str, acl_server: AclRedisServer, publisher: Publisher, api: Api, tmp_path: Path
) -> None:
    assert publisher.keys.prefix == Keys().prefix
    script = tmp_path / "copied.py"
    script.write_text(block.replace(ADDRESS, acl_server.url_as("connector")).replace(API, api.url))
    (tmp_path / "acct-1.pem").write_bytes(ECKey.generate_key("P-256").as_pem(private=True))
    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    for said in re.findall(r"# (acct-9: .*)", block):
        assert said in ran.stdout
    assert not block.count(API) or "200" in ran.stdout


#: Takes the options of redis-cli that the README uses; most machines that run tests have no redis-cli.
REDIS_CLI = """#!/bin/sh
exec "{python}" -c '
import sys, redis
assert sys.argv[1] == "-u"
print(redis.Redis.from_url(sys.argv[2]).execute_command(*sys.argv[3:]))' "$@"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in which the Redis of `refreshd up` runs and holds a token of acct-1."""
    server = EmbeddedServer(tmp_path / ".refreshd")
    server.start()
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        Publisher(client, Keys().prefix).publish("acct-1", 7)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    cli = tmp_path / "redis-cli"
    cli.write_text(REDIS_CLI.format(python=sys.executable))
    cli.chmod(0o755)
    yield tmp_path
    server.kill()


def _typed(script: str, checkout: Path) -> str:
    environment = {**os.environ, "PATH": f"{checkout}:{os.environ['PATH']}"}
    command = ["sh", "-euc", script]
    ran = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on PATH")
def test_the_contracts_first_example_finds_the_redis_of_refreshd_up(checkout: Path) -> None:
    [shell] = _blocks(REDIS, "sh")
    assert _typed(shell, checkout) == "access-acct-1-7\n"


def test_each_status_and_its_exception_are_described_once() -> None:
    table = REDIS.partition("## Why there is no token")[2].partition("\n## ")[0]
    for state in (*SETTLED, "active", "degraded"):
        assert len(re.findall(rf"^\| `{state}` \|", table, re.MULTILINE)) == 1
        error = no_token("acct-1", AccountState(state, 1))
        assert re.search(rf"^\| `{state}` \|.*\| `{type(error).__name__}` \|$", table, re.MULTILINE)
        assert f"| `{state}` |" not in README


def test_the_readme_has_every_exception() -> None:
    public = {getattr(refreshd_reader, name) for name in refreshd_reader.__all__}
    errors = {each.__name__ for each in public if isinstance(each, type) and issubclass(each, ReaderError)}
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| .*", README, re.MULTILINE))))
    assert errors - {"ReaderError", "NoUsableToken"} <= named


def test_the_test_vector_is_the_one_described() -> None:
    fields = json.loads((ROOT / "tests/contract/golden/token-sealed.json").read_text())["fields"]
    assert "sealed_access_token" in fields
    assert "tests/contract/golden/token-sealed.json" in REDIS


def test_every_file_that_is_named_is_there() -> None:
    for text in (REDIS, README):
        for named in re.findall(r"`((?:docs|examples|deploy|tests)/[\w./-]+)`", text):
            assert (ROOT / named).exists(), named
