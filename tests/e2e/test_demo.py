"""`refreshd demo` and `refreshd up` as a new user meets them: real processes, from the first line to the last."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil
import pytest
import redis

from tests.support.command import refreshd
from tests.support.waiting import wait_until
from worker.local.demo.accounts import demo_accounts
from worker.local.ports import LOOPBACK

#: Enough for an account of each kind that is refreshed within the first 15 seconds, and the two that fail.
ACCOUNTS: Final = 8
#: How tokens of the local provider begin; none may be anywhere but in files made for them.
TOKENS: Final = ("at.demo-", "rt.demo-")


def text_of(files: Iterable[Path]) -> str:
    return "".join(path.read_text(errors="replace") for path in files)


def test_a_demo_refreshes_tokens_stops_by_itself_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    with refreshd(tmp_path, "demo", "--seconds", "25", "--accounts", str(ACCOUNTS)) as demo:
        demo.wait_for("8 added")
        demo.wait_for("refreshed gen 2")
        demo.wait_for("demo-04 failed invalid_client")
        demo.family()
        assert demo.wait() == 0
        assert demo.survivors() == []

    assert "0 refresh tokens used twice, 0 grants lost" in demo.output.splitlines()[-2]
    folder = tmp_path / ".refreshd" / "demo"
    rows = [json.loads(line) for line in (folder / "accounts.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [account.id for account in demo_accounts(ACCOUNTS)]
    assert not (folder / "redis.url").exists()
    said = demo.output + text_of((folder / "logs").iterdir())
    secrets = {
        *TOKENS,
        *(row["client_secret"] for row in rows),
        (folder / "flower.login").read_text().strip(),
    }
    assert [secret for secret in secrets if secret in said] == []

    with refreshd(tmp_path, "demo", "--seconds", "1", "--keep", "--no-flower") as second:
        assert second.wait() == 0
    (accounts,) = (line for line in second.output.splitlines() if "✓ Accounts" in line)
    known = re.findall(r"(\d+) (?:unchanged|kept newer)", accounts)
    assert sum(map(int, known)) == ACCOUNTS, accounts


def test_ctrl_c_ends_a_demo_on_a_terminal(tmp_path: Path) -> None:
    client = tmp_path / "bin" / "redis-cli"
    client.parent.mkdir()
    client.touch(mode=0o755)
    with refreshd(tmp_path, "demo", terminal=True, PATH=f"{client.parent}:{os.environ['PATH']}") as demo:
        demo.wait_for("Try in another terminal")
        demo.wait_for("demo-01")
        demo.family()
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait() == 130
        assert demo.survivors() == []
    assert "refresh tokens used twice, 0 grants lost" in demo.output
    assert "--keep" in demo.output
    # What is there to be copied stands on one line, of 80 columns too.
    login = (tmp_path / ".refreshd" / "demo" / "flower.login").read_text().strip()
    assert f"user refreshd, password {login.removeprefix('refreshd:')}" in demo.output
    assert "refreshd explain demo-03" in demo.output
    assert "demo-03 fails (its grant is revoked), demo-04 fails (a wrong secret)" in demo.output
    assert re.search(r"(redis|valkey)-cli -u \$DEMO_REDIS hgetall 'refreshd:token:\{demo-01\}'", demo.output)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with refreshd(tmp_path, "demo", "--no-flower", "--accounts", "1") as demo:
        demo.wait_for("1 added")
        demo.family()
        stuck = [one for one in demo.family() if _is_worker(one)]
        for one in stuck:
            one.suspend()
        assert stuck
        demo.process.send_signal(signal.SIGINT)
        wait_until(lambda: not _running(demo.process.pid, "callback@%h"), "the other worker stopped")
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait() == 130
        assert demo.survivors() == []


def test_up_from_an_empty_folder_and_after_it_was_killed_to_its_end(tmp_path: Path) -> None:
    with socket.socket() as somebody:
        somebody.bind((LOOPBACK, 0))
        somebody.listen()
        port = somebody.getsockname()[1]
        with refreshd(tmp_path, "up", REFRESHD_FLOWER_PORT=str(port)) as up:
            up.wait_for("No accounts yet")
            up.wait_for("refreshd accounts import FILE")
            data = tmp_path / ".refreshd"
            exports = [line.strip() for line in up.output.splitlines() if line.startswith("  export ")]
            shell = "\n".join([*exports, 'printf "%s %s" "$REFRESHD_DATA_DIR" "$REFRESHD_REDIS_URL"'])
            ran = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True)
            assert ran.stdout == f"{data} {(data / 'redis.url').read_text().strip()}"
            assert ", embedded, 127.0.0.1:" in up.output
            assert f"http://{LOOPBACK}:{port}" not in up.output, "Flower takes the next free port"

            with refreshd(tmp_path, "up") as second:
                assert second.wait() == 1
            assert f"process {up.process.pid}" in second.output

            (worker,) = [one for one in up.family() if _is_worker(one)]
            worker.kill()
            up.wait_for("worker-1 was ended by SIGKILL")
            up.wait_for("worker-1 runs again")

            before = (data / "redis.url").read_text()
            up.family()
            up.process.kill()
            with refreshd(tmp_path, "up", "--no-flower") as again:
                again.wait_for("Ended 5 processes of an earlier run")
                again.wait_for("No accounts yet")
                assert up.survivors() == []
                assert (data / "redis.url").read_text() == before
                again.family()
                again.process.send_signal(signal.SIGTERM)
                assert again.wait() == 0
                assert again.survivors() == []


def test_a_setting_that_no_worker_can_start_with_is_said_at_once(tmp_path: Path) -> None:
    with refreshd(tmp_path, "up", REFRESHD_PROVIDERS_FILE="/no/such/file.yaml") as up:
        up.family()
        assert up.wait() == 2
        assert up.survivors() == []
    assert "error: REFRESHD_PROVIDERS_FILE: /no/such/file.yaml" in up.output


@pytest.mark.parametrize("holds", ["nothing", "a stranger's data"])
def test_a_redis_that_is_set_is_used_where_it_is_empty(tmp_path: Path, redis_url: str, holds: str) -> None:
    client = redis.Redis.from_url(redis_url)
    if holds != "nothing":
        client.set("theirs", "1")
    arguments = ("demo", "--seconds", "1", "--accounts", "1", "--no-flower")
    with refreshd(tmp_path, *arguments, REFRESHD_REDIS_URL=redis_url) as demo:
        code = demo.wait()
    kept = client.get("theirs")
    client.close()
    if holds == "nothing":
        assert code == 0, demo.output
    else:
        assert code == 1
        assert "not empty" in demo.output
        assert kept == b"1"


def _is_worker(process: psutil.Process) -> bool:
    return "--hostname=standard1@%h" in process.cmdline()


def _running(parent: int, node: str) -> bool:
    children = psutil.Process(parent).children()
    return any(f"--hostname={node}" in child.cmdline() for child in children if child.status() != "zombie")
