"""examples/connectors, run as they stand, as the Redis user `refreshd-connector`, against an API on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from refreshd_reader import AccountState, Keys, Rejection
from tests.integration.reader.acl_server import AclRedisServer, refusals
from tests.integration.reader.api import Api, rotating
from tests.integration.reader.publisher import Publisher
from tests.support.server_process import free_port

EXAMPLES = Path(__file__).parents[3] / "examples/connectors"
DEADLINE_S = 60


def _runs_where(toolchain: str, *command: str) -> object:
    missing = shutil.which(toolchain) is None
    return pytest.param(
        list(command), id=command[-1], marks=pytest.mark.skipif(missing, reason=f"no {toolchain} on PATH")
    )


#: Each is called with the account and the URL, in that order.
CALLERS = [
    pytest.param([sys.executable, "with_httpx.py"], id="with_httpx.py"),
    pytest.param([sys.executable, "with_requests.py"], id="with_requests.py"),
    pytest.param([sys.executable, "with_asyncio.py"], id="with_asyncio.py"),
    _runs_where("node", "node", "connector.mjs"),
]


class Connector:
    """Runs an example with the connector's URL in its environment."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, *command: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "REFRESHD_REDIS_URL": url or self._url, "NO_PROXY": "127.0.0.1"}
        return subprocess.run(
            command,
            cwd=EXAMPLES,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def call(self, command: list[str], api: Api, account: str = "acct-1") -> subprocess.CompletedProcess[str]:
        words = [api.url, account] if command[-1] == "with_asyncio.py" else [account, api.url]
        return self.run(*command, *words)


@pytest.fixture
def connector(acl_server: AclRedisServer) -> Connector:
    return Connector(acl_server.url_as("connector"))


@pytest.fixture
def publisher(administrator: redis.Redis) -> Iterator[Publisher]:
    yield Publisher(administrator, Keys().prefix)
    assert refusals(administrator) == []


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    yield server
    server.close()


@pytest.mark.parametrize("command", CALLERS)
def test_it_calls_with_the_accounts_token(
    command: list[str], connector: Connector, api: Api, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1)
    api.good = {"access-acct-1-1"}
    ran = connector.call(command, api)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "200" in ran.stdout
    assert [token for token, _ in api.requests] == ["Bearer access-acct-1-1"]


@pytest.mark.parametrize("command", CALLERS)
@pytest.mark.parametrize("token_type", ["", "bearer"])
def test_it_writes_the_scheme_as_it_is_registered(
    command: list[str], token_type: str, connector: Connector, api: Api, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1, token_type=token_type)
    api.good = {"access-acct-1-1"}
    assert connector.call(command, api).returncode == 0
    assert [token for token, _ in api.requests] == ["Bearer access-acct-1-1"]


@pytest.mark.parametrize("command", CALLERS)
def test_it_has_a_refused_token_replaced(
    command: list[str], connector: Connector, api: Api, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1)
    api.good = {"access-acct-1-2"}
    with rotating(publisher, 2):
        ran = connector.call(command, api)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "200" in ran.stdout
    assert publisher.reports() == [Rejection("acct-1", 1, 401)]


@pytest.mark.parametrize("command", CALLERS)
def test_it_prints_why_there_is_no_token(
    command: list[str], connector: Connector, api: Api, publisher: Publisher
) -> None:
    publisher.state("acct-1", AccountState("reauthorize", 1, "invalid_grant"))
    ran = connector.call(command, api)
    assert ran.returncode == 1
    assert "acct-1" in ran.stderr
    assert "reauthorize" in ran.stderr
    assert "invalid_grant" in ran.stderr
    assert api.requests == []


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on PATH")


@needs_bash
def test_the_shell_reads_reports_and_waits(connector: Connector, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    publisher.client.hset(publisher.keys.token("acct-1"), "company", "Müller & Söhne\r\n")
    assert connector.run("./token.sh", "get", "acct-1").stdout == "access-acct-1-1\n"
    assert connector.run("./token.sh", "generation", "acct-1").stdout == "1\n"
    with rotating(publisher, 2):
        assert connector.run("./token.sh", "reject", "acct-1", "1", "403").returncode == 0
        assert connector.run("./token.sh", "next", "acct-1", "1").stdout == "access-acct-1-2\n"
    assert publisher.reports() == [Rejection("acct-1", 1, 403)]


@needs_bash
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["get", "nobody"], 1, "nobody: unknown account"),
        (["get", "acct-1"], 1, "acct-1: no token: reauthorize invalid_grant"),
        (["next", "acct-1", "1"], 1, "acct-1: reauthorize invalid_grant"),
        (["next", "nobody", "1", "0"], 1, "nobody: no token newer than generation 1"),
        (["frobnicate"], 2, "usage: token.sh"),
    ],
)
def test_the_shell_prints_the_error(
    connector: Connector, publisher: Publisher, words: list[str], code: int, said: str
) -> None:
    publisher.state("acct-1", AccountState("reauthorize", 1, "invalid_grant"))
    ran = connector.run("./token.sh", *words)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert said in ran.stderr


@needs_node
def test_the_script_ends_where_redis_is_absent_or_refuses(
    connector: Connector, acl_server: AclRedisServer, publisher: Publisher
) -> None:
    for url, said in (
        (f"redis://127.0.0.1:{free_port()}/0", "ECONNREFUSED"),
        (f"redis://refreshd-connector:wrong@127.0.0.1:{acl_server.port}/0", "WRONGPASS"),
    ):
        ran = connector.run("node", "connector.mjs", "acct-1", "http://127.0.0.1:1/", url=url)
        assert ran.returncode == 1
        assert said in ran.stderr
    publisher.client.acl_log_reset()


@needs_bash
def test_the_shell_reports_an_absent_or_refusing_redis(
    connector: Connector, acl_server: AclRedisServer, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1)
    absent = connector.run("./token.sh", "get", "acct-1", url=f"redis://127.0.0.1:{free_port()}/0")
    assert absent.returncode == 4
    assert "Redis does not answer" in absent.stderr
    wrong = f"redis://refreshd-connector:wrong@127.0.0.1:{acl_server.port}/0"
    refused = connector.run("./token.sh", "get", "acct-1", url=wrong)
    assert refused.returncode == 4
    assert "WRONGPASS" in refused.stderr
    publisher.client.acl_log_reset()
