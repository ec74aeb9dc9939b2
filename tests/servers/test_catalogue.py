"""What `make servers` runs is what its table says: each row has a program and a lock, and each lock the row's version."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from models.providers import Provider
from tests.servers.catalogue import HERE, SERVERS, Kind, RealServer, Runtime

FINDINGS: Final = HERE.parents[1] / "findings"
each_server = pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)


def locked_version(server: RealServer) -> str | None:
    """Return the version of the server's package in its lock."""
    if server.runtime is Runtime.NODE:
        lock = json.loads((server.folder / "package-lock.json").read_text())
        return str(lock["packages"][f"node_modules/{server.package}"]["version"])
    name = "packages.lock" if server.runtime is Runtime.DEBIAN else "requirements.lock"
    found = re.search(
        rf"^{re.escape(server.package)}==?([\w.]+)",
        (server.folder / name).read_text(),
        re.MULTILINE | re.IGNORECASE,
    )
    return found and found[1]


def locks(folder: Path) -> list[Path]:
    return [*folder.glob("*.lock"), *folder.glob("package-lock.json")]


@each_server
def test_the_lock_pins_the_version_that_the_table_names(server: RealServer) -> None:
    assert locked_version(server) == server.version


@each_server
def test_a_lock_holds_no_addresses(server: RealServer) -> None:
    (lock,) = locks(server.folder)
    assert "://" not in lock.read_text()


@each_server
def test_the_knobs_of_the_accounts_are_a_provider_s(server: RealServer) -> None:
    Provider.model_validate({"name": server.name, **server.columns, **server.knobs})


@each_server
def test_a_verdict_is_expected_of_each_kind_of_account(server: RealServer) -> None:
    assert all(server.expected(kind).because for kind in Kind)


def test_each_folder_with_a_program_is_in_the_table() -> None:
    programs = {path.parent.name for path in HERE.glob("*/server.*")}
    assert programs == {server.name for server in SERVERS}


def test_each_finding_is_in_the_index_and_can_be_run() -> None:
    scripts = {path.name for path in FINDINGS.glob("*.sh")} - {"library.sh", "mcp-client.sh", "server.sh"}
    index = (FINDINGS / "README.md").read_text()
    assert scripts == set(re.findall(r"\]\(([\w-]+\.sh)\)", index))
    assert all((FINDINGS / name).stat().st_mode & 0o111 for name in scripts)


def test_the_typescript_of_the_page_is_what_make_servers_runs() -> None:
    page = (HERE.parents[1] / "docs" / "mcp.md").read_text(encoding="utf-8")
    sample = page.partition("```typescript\n")[2].partition("```")[0]
    run = (HERE / "mcp-typescript-sdk" / "session.mjs").read_text(encoding="utf-8")
    #: What the page names, and the program is given; and what only TypeScript has.
    given = {
        "readFileSync('.refreshd/redis.url', 'utf8').trim()": "redisUrl",
        "'refreshd:token:{notes-1}'": "`refreshd:token:{${account}}`",
        "'http://127.0.0.1:9500/mcp'": "url",
        "fresh: typeof fetch": "fresh",
    }
    for name, value in given.items():
        sample = sample.replace(name, value)
    lines = [line for line in sample.splitlines() if line and not re.search("callTool|node:fs", line)]
    assert [line for line in lines if line not in run] == []
