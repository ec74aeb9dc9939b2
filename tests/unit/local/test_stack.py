"""Where `up` and `demo` serve the API: the file that programs of this machine read, and what is printed of a taken port."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.pool import QueuePool

from tests.support.server_process import free_port
from worker.crypto.cipher import generate_key
from worker.local.ports import LOOPBACK
from worker.local.process import Child
from worker.local.processes import Services
from worker.local.stack import Stack
from worker.local.supervisor import Service
from worker.settings import Settings
from worker.settings.api import ApiSettings


def idle(made: Services, _: ApiSettings) -> Service:
    """Return a process in the API's place, which needs seconds to start."""
    log = made.settings.data_dir / "logs" / "api.log"
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    return Service("api", lambda: Child(command, log=log), 0, 1.0)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Services, "api", idle)
    settings = Settings(
        data_dir=tmp_path / "data",
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
        keys=SecretStr(generate_key()),
    )
    with Stack(settings) as made:
        made.migrate()
        yield made


def test_the_api_s_address_is_in_a_file_as_long_as_it_runs(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, file = free_port(), stack.data_dir / "api.url"
    monkeypatch.setenv("REFRESHD_API_PORT", str(port))
    monkeypatch.setenv("REFRESHD_API_URL", "https://refreshd.example.com")
    step = stack.start_api()
    assert file.read_text() == f"http://127.0.0.1:{port}\n"
    assert step.note == ""
    list(stack.stop())
    assert not file.exists()


def test_an_address_that_a_killed_run_left_is_gone_before_the_next_one_serves(
    stack: Stack, tmp_path: Path
) -> None:
    list(stack.stop())
    stack._lock.release()
    left = tmp_path / "data/api.url"
    left.write_text("http://127.0.0.1:1\n")
    with Stack(stack.settings):
        assert not left.exists()


def test_a_taken_port_is_named_beside_the_one_in_its_place(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        taken = int(other.getsockname()[1])
        monkeypatch.setenv("REFRESHD_API_PORT", str(taken))
        step = stack.start_api()
    assert stack.api is not None
    assert stack.api.port != taken
    assert f"{taken} is taken" in step.note
    assert "api.url" in step.note


def test_no_connection_to_the_database_is_left_open(stack: Stack) -> None:
    list(stack.stop())
    stack._lock.release()
    with Stack(stack.settings) as again:
        again.fleet()
        pool = again.stores.engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedin() == 1
    assert pool.checkedin() == 0
