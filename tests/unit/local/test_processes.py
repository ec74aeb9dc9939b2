"""What `up` starts, with which command and environment; and what it says of a process that ended."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from worker.cli.terminal.process_messages import last_words, say
from worker.cli.terminal.signals import Interrupts
from worker.local.process import Child
from worker.local.processes import AROUND, WORKERS, Services, environment
from worker.local.stack import Stack
from worker.local.supervisor import Change, Killed, ProcessEnded, Restarted, Service
from worker.settings import Settings, load_settings

SECRETS = ("redis-password", "key-material", "db-password", "flower-password")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFRESHD_CALLBACK_MODULES", "one,two")
    return Settings(
        data_dir=Path("data"),
        redis_url=SecretStr("redis://:redis-password@127.0.0.1:1/0"),
        database_url=SecretStr("postgresql://u:db-password@h/d"),
        keys=SecretStr("k1:key-material"),
        flower_basic_auth=SecretStr("u:flower-password"),
    )


@dataclass
class Start:
    """How a program was started."""

    arguments: list[str]
    environment: dict[str, str]


@pytest.fixture
def starts(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Start]:
    """How worker, callback worker, beat and Flower are started; in Python's place a program that says it."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (tmp_path / "data" / "logs").mkdir(parents=True)
    children = [service.start() for service in all_services(settings)]
    assert [child.wait(30) for child in children] == [0, 0, 0, 0]
    return [Start(*json.loads(child.log.read_text())) for child in children]


def all_services(settings: Settings) -> list[Service]:
    made = Services(settings)
    return [made.worker(1), made.callback_worker(), made.beat(), made.flower(5555)]


def test_secrets_travel_in_the_environment_and_never_in_a_command(starts: list[Start]) -> None:
    commands = " ".join(" ".join(start.arguments) for start in starts)
    assert not [secret for secret in SECRETS if secret in commands]
    worker, callback, beat, flower = (start.environment for start in starts)
    for given in (worker, callback):
        assert given["REFRESHD_KEYS"] == "k1:key-material"
        assert given["REFRESHD_DATABASE_URL"] == "postgresql://u:db-password@h/d"
    for given in (beat, flower):
        assert given["REFRESHD_KEYS"] == given["REFRESHD_DATABASE_URL"] == ""
        assert given["REFRESHD_REDIS_URL"].startswith("redis://")


def test_beat_and_flower_have_no_key_that_they_do_not_use(settings: Settings) -> None:
    """What SECURITY.md says of them: neither reads tokens or tells receivers, and Flower sends no tasks."""
    given = {
        "publish_keys": SecretStr(f"p1:{'A' * 43}="),
        "message_keys": SecretStr(f"m1:{'A' * 43}="),
        "webhook_url": SecretStr("https://alerts.example/hook"),
        "webhook_secret": SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    }
    made = Services(settings.model_copy(update=given))
    beat, flower = (
        {name for name in given if handed[f"REFRESHD_{name.upper()}"]}
        for handed in (made.environment_of_beat(), made.environment_of_flower())
    )
    assert beat == {"message_keys"}
    assert flower == set()


def test_flower_listens_where_it_is_told_to(settings: Settings, tmp_path: Path) -> None:
    for address, host in {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::1": "[::1]"}.items():
        told = settings.model_copy(update={"flower_address": address, "data_dir": tmp_path})
        stack = Stack(told)
        stack.flower_port = 5555
        assert stack.flower_url == f"http://{host}:5555"
        assert f"--address={address}" in Services(told).arguments_of_flower(5555)


def test_only_the_callback_worker_takes_callbacks(starts: list[Start]) -> None:
    worker, callback, *_ = (set(start.arguments) for start in starts)
    assert {"--pool=threads", "--queues=urgent,control,refresh"} <= worker
    assert {"--pool=threads", "--queues=callback"} <= callback


def test_workers_stop_first_and_have_time_for_a_whole_call(settings: Settings) -> None:
    worker, callback, beat, flower = all_services(settings)
    assert worker.phase == callback.phase == WORKERS < AROUND == beat.phase == flower.phase
    assert worker.grace_s > settings.call_timeout_s


def test_a_child_reads_the_settings_that_we_resolved(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(settings)
    for name in [name for name in os.environ if name.startswith("REFRESHD_")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        if name.startswith("REFRESHD_"):
            monkeypatch.setenv(name, value)
    read = load_settings()
    assert read.model_dump(exclude={"data_dir"}) == settings.model_dump(exclude={"data_dir"})
    assert read.data_dir == settings.data_dir.absolute()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Restarted("beat", 7), "beat runs again (process 7)"),
        (Killed("beat", 5.2), "beat did not stop in 5 s and was killed"),
        (
            ProcessEnded("beat", "was ended by SIGKILL", -9, 0.5),
            "beat was ended by SIGKILL; it is started again in 0.5 s",
        ),
        (
            ProcessEnded("beat", "ended with exit code 2", 2, 8),
            "beat ended with exit code 2; it is started again in 8 s\n  no such thing",
        ),
    ],
)
def test_what_happened_is_said(tmp_path: Path, change: Change, line: str) -> None:
    """Last words are those of a process that ended by itself; one that was killed had no time for any."""
    (tmp_path / "beat.log").write_text("before\nno such thing\n\n")
    assert say(change, tmp_path).plain == line


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("plain text\n", "plain text"),
        (
            json.dumps({"event": "startup_failed", "level": "error", "timestamp": "t", "error": "why"}),
            "startup_failed error=why",
        ),
        ("[1, 2]\n", "[1, 2]"),
    ],
)
def test_last_words_are_read_from_plain_and_structured_logs(tmp_path: Path, log: str, words: str) -> None:
    (tmp_path / "log").write_text(log)
    assert last_words(tmp_path / "log") == words
    assert last_words(tmp_path / "none") == ""


class TestInterrupts:
    @pytest.mark.parametrize(
        ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
    )
    def test_the_first_one_asks_and_the_second_one_hurries(self, signum: signal.Signals, code: int) -> None:
        hurried: list[bool] = []
        with Interrupts() as interrupts:
            interrupts.hurry = lambda: hurried.append(True)
            assert not interrupts.wait(0.01)
            os.kill(os.getpid(), signum)
            assert interrupts.wait(60)
            assert (interrupts.asked, interrupts.exit_code, hurried) == (signum, code, [])
            os.kill(os.getpid(), signum)
            assert hurried == [True]

    def test_what_was_handled_before_is_handled_again_after(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before

    def test_a_hang_up_that_nohup_ignores_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with Interrupts() as interrupts:
                os.kill(os.getpid(), signal.SIGHUP)
                assert interrupts.asked is None
        finally:
            signal.signal(signal.SIGHUP, before)


def test_a_service_is_a_child(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    service = Services(settings).command("one", ["/bin/sh", "-c", "echo $WORD"], {"WORD": "here"}, 1.0)
    child = service.start()
    assert isinstance(child, Child)
    assert child.wait(30) == 0
    assert (tmp_path / "data" / "logs" / "one.log").read_text() == "here\n"
