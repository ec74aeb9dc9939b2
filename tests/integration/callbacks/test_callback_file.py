"""REFRESHD_CALLBACKS_FILE: endpoints and tasks by name, secrets by reference, every mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.callback_file import EndpointCallback, TaskCallback
from tests.deploy.compose_file import ROOT
from tests.support.forked import ran
from worker.callbacks.catalog import CallbackCatalog, Offered, configured_callbacks, queue_of
from worker.callbacks.sandbox.protocol import Described, Known
from worker.crypto.cipher import generate_key
from worker.errors import SettingsError
from worker.settings import Settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def settings_with(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "callbacks.yaml"
    file.write_text(text)
    return Settings(callbacks_file=file)


def test_endpoints_and_tasks_are_read_with_the_secrets_that_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_SECRET", SECRET)
    (tmp_path / "mega").write_text("c2VjcmV0\n")
    found = configured_callbacks(
        settings_with(
            tmp_path,
            f"""
            acme: {{url: "https://callbacks.example/acme", secret_env: ACME_SECRET, timeout_s: 20}}
            mega: {{task: mega.refresh, secret_file: {tmp_path / "mega"}}}
            """,
        )
    )
    acme, mega = found["acme"], found["mega"]
    assert isinstance(acme.definition, EndpointCallback)
    assert (acme.kind, acme.secret, acme.definition.timeout_s) == ("endpoint", SECRET, 20)
    assert isinstance(mega.definition, TaskCallback)
    assert (mega.kind, mega.secret, queue_of("mega", mega.definition.queue)) == (
        "task",
        "c2VjcmV0",
        "callback.mega",
    )
    assert SECRET not in repr(found)


def test_no_file_is_no_callbacks() -> None:
    assert configured_callbacks(Settings()) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a list", "not a mapping; expected callbacks by name"),
        ("acme: [", "can't be read"),
        ("acme: {}", "acme: expected either a url or a task"),
        ("acme: {url: u, task: t, secret_env: S}", "acme: expected either a url or a task"),
        ("acme: {url: u}", "acme: entry: no single secret; expected one of secret_env and secret_file"),
        (
            "acme: {url: u, secret_env: A, secret_file: B}",
            "no single secret; expected one of secret_env and secret_file",
        ),
        ("acme: {url: u, secret: whsec_abc}", "acme: secret: Extra inputs are not permitted"),
        ("acme: {url: u, secret_env: S, timeout_s: -1}", "acme: timeout_s: Input should be greater than 0"),
        ("acme: {url: u, secret_env: NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE (secret_env) is not set"),
        (
            "acme: {url: u, secret_env: PATH, broker_env: B}",
            "acme: broker_env: Extra inputs are not permitted",
        ),
        ("acme: {task: t, secret_env: PATH, broker_env: NOT_SET}", "NOT_SET (broker_env) is not set"),
        ("acme: {url: u, secret_file: /not/there}", "acme: secret_file can't be read"),
        ("'a b': {url: u, secret_env: S}", "'a b' is no name for a callback"),
        ("acme: {url: ''}\nmega: {task: ''}", "mega: "),
        ("[" * 2000, "can't be read: maximum recursion depth"),
        ("acme: 2026-13-45", "can't be read: month must be in 1..12"),
    ],
)
def test_a_mistake_is_named_by_entry_and_field(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as raised:
        configured_callbacks(settings_with(tmp_path, text))
    assert words in str(raised.value)
    assert "REFRESHD_CALLBACKS_FILE" in str(raised.value)
    assert "whsec_abc" not in str(raised.value)


def test_a_name_that_is_taken_twice_is_the_files_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_SECRET", SECRET)
    configured = configured_callbacks(
        settings_with(tmp_path, "acme: {url: 'https://c.example/a?key=1', secret_env: ACME_SECRET}")
    )
    described = Described(
        {"acme": Known("acme", "acme.py:3"), "other": Known("other", "acme.py:9", 4)}, {}, ()
    )
    offer = CallbackCatalog.of(configured, described)
    assert offer.callbacks == {
        "acme": Offered("endpoint", "https://c.example/a"),
        "other": Offered("python", "acme.py:9", 4),
    }
    assert offer.problems == {"acme": "stands in REFRESHD_CALLBACKS_FILE and at acme.py:3: the file's is run"}


START = """
import sys
from types import SimpleNamespace
from celery.concurrency.thread import TaskPool
from worker.app import app
from worker.celery.signals import _check_before_work
app.amqp.queues.select([sys.argv[1]])
_check_before_work(instance=SimpleNamespace(app=app, pool_cls=TaskPool, concurrency=1))
"""


@pytest.mark.parametrize(("queue", "code"), [("refresh", 0), ("callback", 2)])
def test_only_a_worker_that_runs_callbacks_needs_their_secrets(
    queue: str, code: int, tmp_path: Path, sqlite_url: str, redis_url: str
) -> None:
    """A secret that is missing must not stop standard refreshes."""
    file = tmp_path / "callbacks.yaml"
    file.write_text("acme: {url: https://c.example, secret_env: NOT_SET}")
    environment = {
        "REFRESHD_DATA_DIR": str(tmp_path),
        "REFRESHD_DATABASE_URL": sqlite_url,
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_KEYS": generate_key(),
        "REFRESHD_CALLBACKS_FILE": str(file),
    }

    done = ran(["-c", START, queue], cwd=ROOT, env=environment)

    assert done.returncode == code, done.stderr
    assert ("environment variable NOT_SET (secret_env) is not set" in done.stdout + done.stderr) is bool(code)
