"""Where callbacks come from: modules that the operator lists, and entry points. One that is broken spoils no other."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.callback import CallbackInput
from tests.support.waiting import wait_until
from worker.callbacks import refresh_callback
from worker.callbacks.host import fork_server_client
from worker.callbacks.host.sandbox import Sandbox, describe
from worker.callbacks.sandbox.fork_server import BOOT as BOOTED
from worker.callbacks.sandbox.protocol import Command
from worker.callbacks.sandbox.registry import Registry

pytestmark = pytest.mark.e2e

GOOD = """
from worker.callbacks import refresh_callback
@refresh_callback("{name}", timeout_s=7, memory_mb=99)
def refresh(inputs): return {{"access_token": "{token}"}}
"""

NICE = """
import os
from worker.callbacks import refresh_callback
imported_at = os.nice(0)
@refresh_callback("acme")
def refresh(inputs): return {"access_token": f"{imported_at}, {os.nice(0)}"}
"""

#: Runs until the file that its account's id names is gone.
WAITS = """
import os, time
from worker.callbacks import refresh_callback
@refresh_callback("waits")
def refresh(inputs):
    while os.path.exists(inputs.account_id): time.sleep(0.01)
    return {"access_token": str(os.getppid())}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module that can be imported."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])

    def write_one(name: str, text: str) -> Path:
        file = folder / f"{name}.py"
        file.write_text(text)
        return file

    return write_one


def sandbox(*modules: str, **options: Any) -> Sandbox:
    return Sandbox(modules, dict(os.environ), **options)


async def token(box: Sandbox, name: str, account_id: str = "") -> bytes | None:
    inputs = CallbackInput(account_id=account_id).model_dump_json().encode()
    return (await box.run(Command(name, 20, 25, 512), inputs, on_start=lambda: None)).answer


async def test_a_module_is_described_with_where_each_callback_is(write: Write) -> None:
    file = write("acme", GOOD.format(name="acme", token="t"))
    described = await describe(["acme"], dict(os.environ))
    known = described.callbacks["acme"]
    assert (known.where, known.timeout_s, known.memory_mb) == (f"{file}:3", 7, 99)
    assert described.files == (str(file),)
    assert described.problems == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this' (bad.py:1)"),
        ("def broken(:", "SyntaxError: invalid syntax (bad.py, line 1)"),
        ("import bad.inside", "ModuleNotFoundError: No module named 'bad.inside'"),
        ("x = 1", "/bad.py) and registers no callback"),
        (GOOD.replace('("{name}", timeout_s=7, memory_mb=99)', ""), '@refresh_callback("NAME") (bad.py:3)'),
        ("import sys; sys.exit(3)", "SystemExit: 3 (bad.py:1)"),
        ("raise KeyboardInterrupt('no')", "KeyboardInterrupt: no"),
        ("import os; os._exit(3)", "importing it: its process ended with exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "importing it: its process was ended by SIGSEGV"),
        ("import time; time.sleep(1000)", "importing it took longer than 5 s"),
        (GOOD.format(name="good", token="t"), "'good' is registered already, at "),
        (
            GOOD.format(name="a name", token="t"),
            "'a name' is no name for a callback: 1 to 64 letters, digits, . _ - (bad.py:3)",
        ),
    ],
)
async def test_a_broken_module_keeps_out_itself_alone(text: str, words: str, write: Write) -> None:
    write("good", GOOD.format(name="good", token="t"))
    write("bad", text)
    box = sandbox("good", "bad", "missing", import_s=5)
    try:
        described = await box.describe()
        assert list(described.callbacks) == ["good"]
        assert words in described.problems["bad"]
        assert described.problems["missing"].startswith("there is no module 'missing' in ")
        assert await token(box, "good") == b'{"returned": {"access_token": "t"}}\n'
    finally:
        await box.aclose()


async def test_a_run_that_can_not_even_be_killed_in_time_has_timed_out_and_ends_with_its_fork_server(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine may be too busy for the fork server, which stands behind everything else; here it is stopped."""
    monkeypatch.setattr(fork_server_client, "REPORT_WITHIN_S", 0.2)
    write("acme", GOOD.format(name="acme", token="t"))
    box = sandbox("acme")
    stopped: list[psutil.Process] = []

    def stop() -> None:
        stopped.extend(server for server in psutil.Process().children() if BOOTED in server.cmdline())
        stopped[0].suspend()

    try:
        await box.describe()
        inputs = CallbackInput().model_dump_json().encode()
        ran = await box.run(Command("acme", 0.1, 0.1, 512), inputs, on_start=stop)

        assert (ran.ended.overtime, ran.answer) == (True, b"")
        assert not stopped[0].is_running() or stopped[0].status() == psutil.STATUS_ZOMBIE
        assert await token(box, "acme") == b'{"returned": {"access_token": "t"}}\n'
    finally:
        await box.aclose()


async def test_importing_goes_before_what_runs(write: Write) -> None:
    """Behind a busy machine it would take so long that good modules were left out; runs are what has to wait."""
    write("acme", NICE)
    box = sandbox("acme")
    try:
        assert await token(box, "acme") == b'{"returned": {"access_token": "%d, 19"}}\n' % os.nice(0)
    finally:
        await box.aclose()


async def test_what_a_module_prints_while_it_is_imported_disturbs_nothing(write: Write) -> None:
    write("loud", "print('{\"ready\": 1}')\n" + GOOD.format(name="loud", token="t"))
    described = await describe(["loud"], dict(os.environ))
    assert list(described.callbacks) == ["loud"]


async def test_a_changed_file_is_read_again_without_a_restart(write: Write) -> None:
    file = write("acme", GOOD.format(name="acme", token="before"))
    box = sandbox("acme")
    try:
        assert b"before" in (await token(box, "acme") or b"")
        write("acme", "def broken(:")
        touched(file, 1)
        assert "SyntaxError" in (await box.describe()).problems["acme"]
        write("acme", GOOD.format(name="acme", token="after"))
        touched(file, 2)
        assert list((await box.describe()).callbacks) == ["acme"]
        assert b"after" in (await token(box, "acme") or b"")
    finally:
        await box.aclose()


async def test_runs_at_once_have_a_fork_server_each_and_one_more_run_waits(
    write: Write, tmp_path: Path
) -> None:
    write("waits", WAITS)
    box = sandbox("waits", runs=2)
    held = [tmp_path / name for name in ("first", "second")]
    for file in held:
        file.touch()
    try:
        first, second = (asyncio.create_task(token(box, "waits", str(file))) for file in held)
        await fork_servers(2)
        third = asyncio.create_task(token(box, "waits"))
        held[1].unlink()

        answers = await asyncio.gather(second, third)

        assert not first.done()
        assert answers[0] == answers[1]
        held[0].unlink()
        assert await first not in {None, answers[0]}
    finally:
        await box.aclose()


async def test_a_fork_server_that_no_run_has_used_between_two_looks_ends(
    write: Write, tmp_path: Path
) -> None:
    write("waits", WAITS)
    box = sandbox("waits", runs=2)
    file = tmp_path / "held"
    file.touch()
    try:
        runs = [asyncio.create_task(token(box, "waits", str(file))) for _ in range(2)]
        await fork_servers(2)
        file.unlink()
        assert len(set(await asyncio.gather(*runs))) == 2
        await box.describe()
        assert len(running_fork_servers()) == 2
        await box.describe()
        assert len(running_fork_servers()) == 1
        assert await token(box, "waits") in {run.result() for run in runs}
    finally:
        await box.aclose()


async def fork_servers(number: int) -> None:
    """Wait until so many fork servers have a run under way."""
    async with asyncio.timeout(60):
        while sum(bool(one.children()) for one in running_fork_servers()) != number:
            await asyncio.sleep(0.01)


def running_fork_servers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if BOOTED in one.cmdline()]


def touched(file: Path, seconds: int) -> None:
    """Return a file another time of change, however fast the test is; its compiled form must not hide it."""
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 10**9))


async def test_an_entry_point_of_an_installed_package_is_found(write: Write) -> None:
    module = write("installed_acme", "def refresh(inputs): return {'access_token': 'from a package'}\n")
    package = module.parent / "acme-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[refreshd.callbacks]\nacme-pkg = installed_acme:refresh\n")
    box = sandbox()
    try:
        assert list((await box.describe()).callbacks) == ["acme-pkg"]
        assert b"from a package" in (await token(box, "acme-pkg") or b"")
    finally:
        await box.aclose()


async def test_the_fork_server_ends_with_its_worker(write: Write) -> None:
    """A worker that is killed closes the socket, whatever it could no longer do itself."""
    write("acme", GOOD.format(name="acme", token="t"))
    box = sandbox("acme")
    await box.describe()
    (server,) = box._idle
    server._control.close()
    wait_until(
        lambda: not Path(f"/proc/{server._process.pid}/cmdline").exists() or is_zombie(server._process.pid),
        "the end",
    )
    await box.aclose()


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_decorator_gives_the_function_back_as_it_was() -> None:
    def refresh(inputs: CallbackInput) -> dict[str, str]:
        return {"access_token": inputs.account_id}

    assert refresh_callback("test-of-the-decorator")(refresh) is refresh


@pytest.mark.parametrize(
    ("name", "amounts", "words"),
    [
        ("", {}, "is no name for a callback"),
        ("x" * 65, {}, "is no name for a callback"),
        ("a{b}", {}, "is no name for a callback"),
        ("acme", {"timeout_s": 0}, "timeout_s is seconds"),
        ("acme", {"timeout_s": float("nan")}, "timeout_s is seconds"),
        ("acme", {"memory_mb": 0}, "memory_mb is mebibytes"),
    ],
)
def test_an_unfit_registration_is_refused(name: str, amounts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Registry().add(name, print, **amounts)
