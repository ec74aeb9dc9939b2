"""The shell blocks of each page's first screen: run here as they stand, or by the test that is named beside them."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.integration.accounts.conftest import Refreshd, acme

ROOT: Final = Path(__file__).parents[3]
#: What a screen shows of a page.
SCREEN_LINES: Final = 40
BLOCK: Final = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

#: Pages whose blocks are run below.
HERE: Final = ("accounts", "clients", "operations", "runbook")
#: Who runs the others, or says of each line whether it can work.
ELSEWHERE: Final = {
    "api": "tests/e2e/test_readme.py",
    "callbacks": "tests/unit/callbacks/test_new.py",
    "client-authentication": "tests/integration/accounts/test_client_authentication_page.py",
    "connect": "tests/oidc/test_connect.py",
    # They need Docker, or a cluster: files, commands and health checks are looked at one by one.
    "deployment": "tests/deploy/test_compose.py",
    "kubernetes": "tests/deploy/test_kubernetes.py",
    "mcp": "tests/servers/mcp/connection.py",
    "platforms": "tests/e2e/test_platforms.py",
    "redis": "tests/integration/reader/test_docs.py",
}
#: Lines of the pages above that are not run, each with the reason.
LEFT_OUT: Final = {
    "refreshd accounts add": "asks on a terminal",
    "refreshd accounts authorize ID": "opens a browser; tests/oidc/test_authorize.py does",
    "refreshd audit --follow --json": "ends with Ctrl-C",
}
#: What a reader puts in.
PUT_IN: Final = {
    "FILE": "accounts.jsonl",
    "ID": "acme-1",
    "ACCOUNT": "acme-1",
    "FIELD=VALUE...": "margin_s=30",
}
FILES: Final = {
    "accounts.jsonl": "".join(json.dumps(acme(name)) + "\n" for name in ("acme-1", "acme-2")),
    "secret.txt": "a-secret",
    "new.txt": "a-new-secret",
}
#: They found something that is wrong: no worker runs here.
FINDS: Final = {"doctor", "explain"}


def first_screen(page: str) -> str:
    """Return a page's beginning; a block that begins there is whole."""
    lines = (ROOT / f"docs/{page}.md").read_text().splitlines(keepends=True)
    rest = "".join(lines[SCREEN_LINES:])
    head = "".join(lines[:SCREEN_LINES])
    return head + rest.partition("```")[0] + "```\n" if head.count("```") % 2 else head


def lines_of(page: str) -> Iterator[str]:
    for block in BLOCK.findall(first_screen(page)):
        for line in block.replace("\\\n", " ").splitlines():
            if bare := re.sub(r"\s+#.*", "", line).strip():
                yield bare


def test_each_page_with_commands_on_its_first_screen_is_tried_somewhere() -> None:
    with_commands = {
        page.stem for page in (ROOT / "docs").glob("*.md") if BLOCK.search(first_screen(page.stem))
    }
    assert with_commands == {*HERE, *ELSEWHERE}
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).exists()] == []


def test_what_is_left_out_is_still_there() -> None:
    assert set(LEFT_OUT) <= {line for page in HERE for line in lines_of(page)}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("page", HERE)
def test_a_first_screen_runs_as_it_stands(
    page: str, refreshd: Refreshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    if page in {"operations", "runbook"}:  # which speak of accounts that are there
        assert refreshd("accounts", "import", "accounts.jsonl").exit_code == 0
    monkeypatch.setenv("REFRESHD_ACCOUNT_REFRESH_TOKEN", "a-refresh-token-that-is-asked-for")
    tried = 0
    for line in lines_of(page):
        if line in LEFT_OUT:
            continue
        piped, _, command = line.rpartition(" | ")
        if piped:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(shlex.split(piped)[1].encode())))
        words = [PUT_IN.get(word, word) for word in shlex.split(command)]
        assert words[0] == "refreshd", line
        ran = refreshd(*words[1:])
        assert ran.exit_code == 0 or (ran.exit_code == 1 and words[1] in FINDS), (line, ran)
        tried += 1
    assert tried
