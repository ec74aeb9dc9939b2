"""docs/callbacks.md names the fields that there are, commands that exist, and code that runs."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import redis
import yaml
from typer.main import get_command

from models.callback import CallbackInput, CallbackOutput
from models.callback_file import load_callback_file
from refreshd_reader.callback_task import CallbackTask, Envelopes
from tests.deploy.compose_file import ROOT
from tests.support.services import RedisServer
from worker.callbacks.host.sandbox import describe
from worker.cli import app
from worker.cli.terminal.lazy import LazyCommand

PAGE: Final = (ROOT / "docs/callbacks.md").read_text()
PYTHON: Final = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHELL: Final = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))


def table(first_column: str) -> list[str]:
    """Return the first cells of the table of this heading."""
    rows = PAGE.partition(f"\n| {first_column} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([\w.]+)` \|", rows, re.MULTILINE)


def test_the_tables_hold_exactly_the_fields() -> None:
    assert table("input") == list(CallbackInput.model_fields)
    assert table("output") == list(CallbackOutput.model_fields)


def test_the_first_callback_can_be_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page_callback.py").write_text(PYTHON[0])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    described = asyncio.run(describe(["page_callback"], dict(os.environ)))
    assert (list(described.callbacks), described.problems) == (["acme"], {})


@pytest.mark.parametrize("block", PYTHON)
def test_each_piece_of_python_is_python(block: str) -> None:
    compile(block, "page", "exec")


@pytest.mark.parametrize(
    "words", sorted(set(re.findall(r"^refreshd ([a-z]+(?: [a-z]+)?)", SHELL, re.MULTILINE)))
)
def test_each_command_exists(words: str) -> None:
    command = get_command(app)
    for word in words.split():
        commands = getattr(command, "commands", None)
        if commands is None:
            break
        command = commands[word]
        command = command.load() if isinstance(command, LazyCommand) else command


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", PAGE))))
def test_each_link_leads_somewhere(path: str) -> None:
    assert (ROOT / "docs" / path).exists()


def test_each_example_is_listed() -> None:
    examples = {file.name for file in (ROOT / "examples/callbacks").iterdir() if file.is_file()}
    assert set(table("in `examples/callbacks/`")) == examples


def test_the_file_of_callbacks_can_be_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "callbacks.yaml"
    file.write_text(text)
    assert list(load_callback_file(file)) == list(yaml.safe_load(text))


def test_the_redis_user_of_a_task_may_do_what_it_needs_and_nothing_else(redis_service: RedisServer) -> None:
    (rule,) = re.findall(r"^user acme-callback (.*)$", PAGE, re.MULTILINE)
    administrator: Any = redis.Redis.from_url(redis_service.url)
    administrator.execute_command("ACL", "SETUSER", "acme-callback", *rule.replace("PASSWORD", "pw").split())
    secret = base64.b64encode(bytes(range(32))).decode()
    envelopes = Envelopes(secret)
    administrator.set(envelopes.inputs_key("one"), envelopes.seal("one", "inputs", {"refresh_token": "r"}))
    administrator.set("refreshd:token:{acct}", "a token")
    user: Any = redis.Redis(port=redis_service.port, username="acme-callback", password="pw")
    try:
        CallbackTask(user, secret).answer("one", lambda inputs: {"access_token": inputs["refresh_token"]})
        assert administrator.llen(envelopes.answer_key("one")) == 1
        for forbidden in (
            ("GET", "refreshd:token:{acct}"),
            ("KEYS", "*"),
            ("GETDEL", "refreshd:stash:{acct}"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.execute_command(*forbidden)
    finally:
        administrator.execute_command("ACL", "DELUSER", "acme-callback")
        administrator.delete("refreshd:token:{acct}", envelopes.answer_key("one"))
        user.close()
        administrator.close()
