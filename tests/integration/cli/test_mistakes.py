"""What people get wrong, and stores that are not there: said in a line, with the right exit code, and no traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.integration.accounts.conftest import Refreshd, acme, file, refreshd, stores
from worker.cli.run.demo import demo_settings
from worker.cli.terminal.signals import INTERRUPTED
from worker.context import AppContext
from worker.diagnostics.doctor import run_checks
from worker.errors import DatabaseUnreachable, SettingsError
from worker.settings import load_settings

__all__ = ["file", "refreshd", "stores"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def account(refreshd: Refreshd, file: Callable[..., Path]) -> str:
    row = acme(scope="read [/all] write")
    assert refreshd("accounts", "import", str(file(row))).exit_code == 0
    return "acme-1"


def test_a_command_in_the_wrong_folder_names_the_database_and_makes_none(
    refreshd: Refreshd, file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, elsewhere = file(acme()), tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in ("DATABASE_URL", "DATA_DIR", "KEYS"):
        monkeypatch.delenv(f"REFRESHD_{name}")

    for words in (["accounts", "import", str(rows)], ["status"], ["explain", "a"]):
        ran = refreshd(*words)
        said = " ".join(ran.stderr.split())
        assert ran.exit_code != 0
        assert f"the database {elsewhere}/.refreshd/refreshd.db holds no refreshd schema yet" in said
        assert "REFRESHD_DATA_DIR" in said
    assert refreshd("doctor").exit_code == 1
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("words", [["explain"], ["accounts", "show"]])
def test_what_people_wrote_is_no_markup(words: list[str], account: str, refreshd: Refreshd) -> None:
    ran = refreshd(*words, account)
    assert "read [/all] write" in ran.stdout


def test_explain_says_that_there_is_no_redis_and_all_the_rest(
    account: str, refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `refreshd up` was stopped."""
    monkeypatch.delenv("REFRESHD_REDIS_URL")
    ran = refreshd("explain", account)
    assert ran.exit_code == 1
    assert "Good as far as anybody knows" in ran.stdout
    assert "no Redis" in " ".join(ran.stdout.split())


def test_status_says_why_redis_can_t_be_used(
    account: str,  # noqa: ARG001
    refreshd: Refreshd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REFRESHD_REDIS_URL", "redis://:hush@127.0.0.1:1/0")
    ran = refreshd("status")
    assert ran.exit_code == 4
    said = " ".join(ran.stdout.split())
    assert "last plan" in said
    assert "Redis at 127.0.0.1:1/0 can't be used: " in said
    assert "unset REFRESHD_REDIS_URL" in said
    assert "onnection refused" in said
    assert "hush" not in said
    assert json.loads(refreshd("status", "--json").stdout)["queues"] is None


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_the_url_of_redis_names_and_nobody_can_read(
    option: str, refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL says "No such file or directory", of whatever file."""
    monkeypatch.setenv("REFRESHD_REDIS_URL", f"rediss://:hush@127.0.0.1:1/0?{option}=/nope.pem")
    ran = refreshd("status")
    assert ran.exit_code == 2
    assert f"REFRESHD_REDIS_URL: {option}=/nope.pem can't be read: No such file" in " ".join(
        ran.stderr.split()
    )
    assert "hush" not in ran.stderr


@pytest.mark.parametrize(
    ("name", "url", "says"),
    [
        ("REDIS_URL", "redis://:hush@h/0?foo=1", "unknown option behind the ?; redis:// takes none"),
        ("REDIS_URL", "redis://:hush@h/0?db=1", "a database is written /1"),
        ("REDIS_URL", "redis://h/0?password=hush", "redis:// takes none"),
        ("REDIS_URL", "rediss://:hush@h/0?foo=1", "rediss:// takes ssl_ca_certs, "),
        ("REDIS_URL", "rediss://:hush@h/0?ssl_cert_reqs=maybe", "not a valid Redis URL"),
        ("REDIS_URL", "unix://:hush@/s?foo=1", "unix:// takes db, password, username"),
        ("REDIS_URL", "unix://:hush@/s?db=one", "not a valid Redis URL"),
        ("REDIS_URL", "redis://:hush@h/one", "not a valid Redis URL"),
        ("REDIS_URL", "redis://u:1/hush@h/0", "not a valid Redis URL"),
        ("REDIS_URL", "redis://u:hush/x@h/0", "expected redis://user:password@host:6379/0"),
        ("REDIS_URL", "redis://u:1?hu=sh@h/0", "not a valid Redis URL"),
        ("REDIS_URL", "http://u:hush@h/0", "expected redis://user:password@host:6379/0"),
        ("DATABASE_URL", "postgresql://u:hush@h/d?foo=1", "unknown option behind the ?"),
        ("DATABASE_URL", "postgresql://u:hush@h/d?port=one", "an option's value that can't be read"),
        ("DATABASE_URL", "sqlite:////hush/x.db?foo=1", "unknown option behind the ?"),
        ("DATABASE_URL", "sqlite:////hush/x.db?timeout=one", "an option's value that can't be read"),
    ],
)
def test_a_url_that_the_driver_can_not_use_is_an_error_that_does_not_show_it(
    name: str, url: str, says: str, refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drivers raise a TypeError, at the first command."""
    monkeypatch.setenv(f"REFRESHD_{name}", url)
    ran = refreshd("status")
    assert ran.exit_code == 2
    assert f"error: REFRESHD_{name}: " in ran.stderr
    assert says in " ".join(ran.stderr.split())
    assert not re.search("hush|hu=|sh@", ran.stderr)


def test_refresh_says_that_there_is_no_redis(
    account: str, refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFRESHD_REDIS_URL")
    ran = refreshd("refresh", account, "--force")
    assert ran.exit_code == SettingsError.exit_code
    assert ran.stderr.startswith("error: no Redis: ")


@pytest.mark.usefixtures("stores")
def test_doctor_goes_on_where_keys_can_t_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFRESHD_KEYS", "k1:xx")
    with closing(AppContext(load_settings())) as here:
        found = {one.check: one for one in run_checks(here, lambda: None)}
    assert found["keys"].level == "failed"
    assert "k1" in found["keys"].message
    assert {"beat", "workers"} <= set(found)


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("path", ["/nope/x.jsonl", "/dev/null/x.jsonl"])
def test_an_export_to_where_nothing_can_be_written(path: str, refreshd: Refreshd) -> None:
    ran = refreshd("accounts", "export", path)
    assert ran.exit_code == 2
    assert ran.stderr.startswith(f"error: {path}: can't be written: ")


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("words", [["accounts", "export", "--format", "csv"], ["status", "--html"]])
def test_no_file_takes_the_place_of_a_device_or_a_pipe(
    words: list[str], refreshd: Refreshd, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ran = refreshd(*words, str(pipe))
    assert (ran.exit_code, pipe.is_fifo()) == (2, True)
    assert "it is a device or a pipe; name a file" in ran.stderr


@pytest.mark.parametrize("content", [b"a text, and no database at all", b"SQLite format 3\0 that was cut"])
def test_a_file_that_is_no_database_is_named(
    content: bytes, refreshd: Refreshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "some.db"
    file.write_bytes(content)
    monkeypatch.setenv("REFRESHD_DATABASE_URL", f"sqlite:///{file}")
    for words in (["status"], ["accounts", "list"], ["db", "upgrade"]):
        ran = refreshd(*words)
        assert ran.exit_code == DatabaseUnreachable.exit_code, ran.stderr
        assert f"the database sqlite:///{file} can't be used: file is not a database" in ran.stderr


@pytest.mark.parametrize("folder", ["a-file", "a-file/below"])
@pytest.mark.parametrize("words", [["up", "--no-flower"], ["demo", "--no-flower"], ["keys", "list"]])
def test_a_data_folder_that_is_none(
    words: list[str],
    folder: str,
    refreshd: Refreshd,
    stores: redis.Redis,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a-file").touch()
    for name in ("REFRESHD_DATABASE_URL", "REFRESHD_KEYS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("REFRESHD_DATA_DIR", str(tmp_path / folder))
    ran = refreshd(*words)
    assert ran.exit_code in {SettingsError.exit_code, DatabaseUnreachable.exit_code}
    assert ran.stderr.startswith("error: ")
    assert str(tmp_path / "a-file") in ran.stderr


@pytest.mark.e2e
@pytest.mark.usefixtures("stores")
def test_a_worker_whose_data_folder_is_none_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("REFRESHD_DATA_DIR", str(tmp_path / "a-file"))
    done = subprocess.run(
        [sys.executable, "-c", "import worker.app"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"refreshd: REFRESHD_DATA_DIR: {tmp_path}/a-file can't be used: File exists\n",
    )


@pytest.mark.usefixtures("stores")
def test_a_demo_has_no_business_with_what_is_set_for_a_real_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WEBHOOK_URL": "https://real.example/hook",
        "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "BLOCK_PRIVATE_NETWORKS": "true",
        "METRICS_PORT": "9751",
        "PUBLISH_KEYS": f"p1:{'A' * 43}=",
    }.items():
        monkeypatch.setenv(f"REFRESHD_{name}", value)
    settings = demo_settings()
    assert settings.webhook_urls == settings.webhook_secrets == ()
    assert (settings.metrics_port, settings.token_seal, settings.block_private_networks) == (
        None,
        None,
        False,
    )


class InterruptedTerminal:
    """A terminal at which somebody types Ctrl-C."""

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "words",
    [
        ["accounts", "add"],
        ["accounts", "remove", "acme-1"],
        ["accounts", "authorize", "new-1", "provider=google"],
    ],
    ids=lambda words: words[1],
)
def test_ctrl_c_at_a_question_is_ctrl_c(
    words: list[str],
    account: str,  # noqa: ARG001
    refreshd: Refreshd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", InterruptedTerminal())
    ran = refreshd(*words)
    assert ran.exit_code == INTERRUPTED
    assert ("Nothing was stored." in ran.stderr) is (words[1] == "authorize")


@pytest.mark.e2e
@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("words", [["providers", "list"], ["providers", "list", "--json"]])
def test_a_pipe_whose_reader_has_seen_enough_is_no_failure(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "worker.cli", *words],
            stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.e2e
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "words", [["providers", "show", "google"], ["providers", "show", "google", "--json"]]
)
def test_a_full_disk_behind_standard_output_is_said_in_a_line(words: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "worker.cli", *words],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (
        1,
        "error: standard output can't be written: No space left on device\n",
    )
