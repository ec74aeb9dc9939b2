"""The demo's folder: emptied only where a demo made it, kept where the last demo shall go on."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from worker.cli.run.up import up
from worker.local.demo.accounts import demo_accounts
from worker.local.demo.workspace import FolderForeign, Workspace
from worker.local.ports import LOOPBACK
from worker.local.redis_server import EmbeddedServer
from worker.local.stack import FolderTaken, Stack
from worker.settings import load_settings


@pytest.fixture
def ground(tmp_path: Path) -> Workspace:
    folder = tmp_path / "a folder's"  # with characters that a shell minds
    (folder / "logs").mkdir(parents=True)
    (folder / "up.lock").touch()
    return Workspace(folder)


def names(ground: Workspace) -> set[str]:
    return {path.name for path in ground.folder.iterdir()}


def test_what_a_former_demo_left_is_removed(ground: Workspace) -> None:
    ground.prepare(demo_accounts(3))
    (ground.folder / "logs" / "redis.log").touch()
    ground.clear()
    assert names(ground) == {"up.lock"}


def test_a_redis_of_a_former_demo_is_stopped_first(ground: Workspace) -> None:
    """One that runs on deleted files would be found by nobody, and never end."""
    ground.prepare(demo_accounts(1))
    left = EmbeddedServer(ground.folder)
    child = left.start()
    ground.clear()
    assert child.wait(10) is not None


def test_a_folder_that_no_demo_made_is_left_alone(ground: Workspace) -> None:
    (ground.folder / "thesis.txt").touch()
    with pytest.raises(FolderForeign, match="no demo made"):
        ground.clear()
    assert "thesis.txt" in names(ground)


def test_a_new_folder_is_no_obstacle(ground: Workspace) -> None:
    ground.clear()
    assert names(ground) == {"up.lock", "logs"}


def test_files_are_private(ground: Workspace) -> None:
    ground.prepare(demo_accounts(3))
    ground.write_shell(embedded_redis=True, provider_url="http://127.0.0.1:1")
    for path in (ground.accounts, ground.grants, ground.signing_key, ground.shell):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_demo_that_goes_on_keeps_its_accounts_and_its_port(ground: Workspace) -> None:
    port = ground.prepare(demo_accounts(3))
    before = ground.accounts.read_text()
    assert ground.kept_number() == 3
    assert ground.prepare(demo_accounts(3)) == port
    assert ground.accounts.read_text() == before


def test_where_the_port_is_taken_its_accounts_move_and_keep_their_tokens(ground: Workspace) -> None:
    port = ground.prepare(demo_accounts(3))
    before = [json.loads(line) for line in ground.accounts.read_text().splitlines()]
    with socket.socket() as somebody:
        somebody.bind((LOOPBACK, port))
        somebody.listen()
        moved = ground.prepare(demo_accounts(3))
    after = [json.loads(line) for line in ground.accounts.read_text().splitlines()]
    assert {urlsplit(row["token_url"]).port for row in after} == {moved}
    assert moved != port
    assert [row["refresh_token"] for row in after] == [row["refresh_token"] for row in before]


def test_a_shell_finds_the_demo(ground: Workspace) -> None:
    ground.write_shell(embedded_redis=True, provider_url="http://127.0.0.1:1")
    (ground.folder / "redis.url").write_text("redis://here\n")
    said = '. "$0"; echo "$REFRESHD_DATA_DIR|$REFRESHD_REDIS_URL|$DEMO_REDIS"'
    done = subprocess.run(
        ["/bin/sh", "-c", said, str(ground.shell)],
        env={"REFRESHD_REDIS_URL": "redis://production", "PATH": "/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{ground.folder}||redis://here\n"


def test_up_refuses_the_folder_of_a_demo_and_says_where_its_name_comes_from(
    ground: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.refuse_own_accounts()
    ground.prepare(demo_accounts(1))
    monkeypatch.setenv("REFRESHD_DATA_DIR", str(ground.folder))
    with pytest.raises(FolderForeign, match=r"refreshd demo.*this shell's REFRESHD_DATA_DIR.*new terminal"):
        up()
    monkeypatch.delenv("REFRESHD_DATA_DIR")
    with pytest.raises(FolderForeign, match="name another folder"):
        ground.refuse_own_accounts()


def test_a_folder_that_is_taken_is_named_with_the_variable_of_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_DATA_DIR", str(tmp_path))
    with (
        Stack(load_settings()),
        pytest.raises(FolderTaken, match="unset REFRESHD_DATA_DIR"),
        Stack(load_settings()),
    ):
        pass
