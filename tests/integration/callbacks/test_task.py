"""Callbacks that are Celery tasks: inputs and outputs travel sealed, and nobody on the way holds a secret."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from kombu.exceptions import OperationalError
from redis import Redis
from redis.client import Monitor
from redis.exceptions import ConnectionError as RedisConnectionError

from models.answer import Fault
from models.callback import CallbackInput
from models.tables.attempt import Attempt, Outcome
from models.token import Secret
from refreshd_reader.callback_task import CallbackTask, EnvelopeBroken, EnvelopeGone, Envelopes
from tests.integration.conftest import Bench
from tests.integration.reader.proxy import Proxy
from tests.support.services import RedisServer, redis_server
from tests.support.waiting import wait_until
from worker.callbacks.host.celery_task import TaskClient
from worker.callbacks.host.run_result import Reply
from worker.redis.client import SOCKET_OPTIONS, connect, connect_async
from worker.settings import Settings

#: Celery's own result backend, which the operator's application has here.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

SECRET = base64.b64encode(os.urandom(32)).decode()
#: What an account's secrets look like here: each of them holds this word.
MARKER = "marker"


def refresh(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "access_token": f"{inputs['access_token']}-new",
        "refresh_token": f"{inputs['refresh_token']}-new",
    }


def fail(inputs: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError(f"could not use {inputs['refresh_token']} and marker-of-my-own")


def decoded(command: str) -> str:
    """Add what Celery's messages and events hold in base64."""
    bodies = re.findall(r'"body": "([A-Za-z0-9+/=]+)"', command)
    return " ".join([command, *(base64.b64decode(body).decode() for body in bodies)])


class Watch:
    """Sees every command that reaches a Redis."""

    def __init__(self, url: str) -> None:
        self.commands: list[str] = []
        self._client = Redis.from_url(url)
        monitor: Any = Monitor
        self._monitor = monitor(self._client.connection_pool)
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with suppress(RedisConnectionError, OSError, ValueError):
            for seen in self._monitor.listen():
                self.commands.append(decoded(str(seen["command"])))

    def stop(self) -> None:
        self._monitor.connection.disconnect()
        self._client.close()


@pytest.fixture
def watch(redis_url: str) -> Iterator[Watch]:
    made = Watch(redis_url)
    yield made
    made.stop()


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TASK_SECRET", SECRET)
    monkeypatch.setenv("TASK_BROKER", "redis://127.0.0.1:9/0")
    file = settings.data_dir / "callbacks.yaml"
    file.write_text(
        "works: {task: acme.refresh, queue: acme, secret_env: TASK_SECRET}\n"
        "fails: {task: acme.fail, queue: acme, secret_env: TASK_SECRET}\n"
        "elsewhere: {task: acme.refresh, secret_env: TASK_SECRET, broker_env: TASK_BROKER}\n"
        "nobody: {task: acme.refresh, secret_env: TASK_SECRET, timeout_s: 1}\n"
    )
    return settings.model_copy(update={"callbacks_file": file, "callback_modules": ()})


@pytest.fixture
def operators_worker(redis_url: str) -> Iterator[Celery]:
    """An application of the operator's own, with a result backend and events, on the queue `acme`."""
    app = Celery("acme", broker=redis_url, backend=redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue="acme",
        worker_send_task_events=True,
        task_track_started=True,
        task_send_sent_event=True,
    )
    callback = CallbackTask.from_url(redis_url, secret=SECRET)

    @app.task(name="acme.refresh", shared=False)
    def refresh_task(envelope: str) -> None:
        callback.answer(envelope, refresh)

    @app.task(name="acme.fail", shared=False)
    def fail_task(envelope: str) -> None:
        callback.answer(envelope, fail)

    with start_worker(app, pool="threads", concurrency=1, perform_ping_check=False, shutdown_timeout=60):
        yield app
    app.close()


def run(bench: Bench, callback: str) -> Attempt:
    sealer = bench.runtime.sealer
    access, client = (Secret(f"{MARKER}-{name}") for name in ("access_token", "client_secret"))
    bench.add(
        refresh_method="callback",
        callback=callback,
        refresh_token=f"{MARKER}-refresh_token",
        access_token_sealed=sealer.seal("acct", "access_token", access),
        client_secret_sealed=sealer.seal("acct", "client_secret", client),
    )
    bench.refresh()
    (attempt,) = bench.runtime.history.of("acct", limit=9)
    return attempt


@pytest.mark.usefixtures("operators_worker")
def test_it_refreshes_and_neither_broker_nor_results_nor_events_hold_a_secret(
    bench: Bench, watch: Watch
) -> None:
    attempt = run(bench, "works")

    assert attempt.outcome == Outcome.REFRESHED, attempt.error_description
    opened = bench.runtime.sealer.open(bench.account(), "refresh_token")
    assert opened is not None
    assert opened.reveal() == f"{MARKER}-refresh_token-new"
    wait_until(
        lambda: any("celery-task-meta" in one and "SUCCESS" in one for one in watch.commands), "the result"
    )
    (message,) = (one for one in watch.commands if one.startswith("LPUSH acme"))
    (envelope,) = {
        found for one in watch.commands for found in re.findall(r"refreshd:envelope:\{(.+?)\} ", one)
    }
    assert f'[["{envelope}"], ' in message
    assert any("PUBLISH /" in one and f"['{envelope}']" in one for one in watch.commands)
    # The published access token is the one secret that Redis is meant to hold.
    held = [one for one in watch.commands if MARKER in one.replace(f"{MARKER}-access_token-new", "")]
    assert held == []
    assert bench.runtime.redis.keys("refreshd:envelope:*") == []


@pytest.mark.usefixtures("operators_worker")
def test_what_it_raises_is_in_the_history_and_nowhere_else(bench: Bench, watch: Watch) -> None:
    attempt = run(bench, "fails")

    assert (attempt.outcome, attempt.reason) == (Outcome.RETRY, "callback_failed")
    assert (
        attempt.error_description == "it raised RuntimeError: could not use [redacted] and marker-of-my-own"
    )
    wait_until(
        lambda: any("celery-task-meta" in one and "FAILURE" in one for one in watch.commands), "the result"
    )
    assert [one for one in watch.commands if MARKER in one] == []


def test_a_broker_that_is_away_is_a_failed_run(bench: Bench) -> None:
    attempt = run(bench, "elsewhere")
    assert (attempt.outcome, attempt.reason) == (Outcome.RETRY, "callback_failed")
    assert attempt.error_description == "the task could not be asked: OperationalError"
    assert bench.runtime.redis.keys("refreshd:envelope:*") == []


def test_a_broker_that_takes_connections_and_says_nothing_ends_no_later_than_the_deadline(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inputs are withdrawn, the refresh token is not spent, and the thread that sent ends by itself."""
    monkeypatch.setitem(SOCKET_OPTIONS, "socket_timeout", 0.1)
    begun = threading.enumerate()

    async def call(port: int) -> tuple[Reply, float]:
        client = connect_async(redis_url)
        tasks = TaskClient(client, redis_url, "refreshd:")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 1
        async with asyncio.timeout(30):
            reply = await tasks.call(
                "t",
                "q",
                SECRET,
                CallbackInput(),
                deadline=deadline,
                on_send=lambda: None,
                broker=f"redis://127.0.0.1:{port}/0",
            )
        await tasks.aclose()
        assert await client.keys("refreshd:envelope:*") == []
        await client.aclose()
        return reply, loop.time() - deadline

    with socket.create_server(("127.0.0.1", 0)) as server:
        reply, late_s = asyncio.run(call(server.getsockname()[1]))
        for thread in set(threading.enumerate()) - set(begun):
            thread.join(30)
            assert not thread.is_alive()

    assert reply.failure is not None
    assert (reply.failure.fault, reply.failure.spent) == (Fault.CALLBACK, False)
    assert reply.failure.fault_detail == "the task could not be asked: TimeoutError"
    assert late_s < 20


def test_the_certificate_of_a_task_s_own_broker_is_checked(redis_url: str) -> None:
    """kombu looks at none unless the URL says so; whoever stood in the middle had the broker's password."""
    asked: list[str] = []

    def send(app: Celery, *_: object, **__: object) -> None:
        asked.append(app.conf.broker_url)
        raise OperationalError

    async def call() -> Reply:
        client = connect_async(redis_url)
        tasks = TaskClient(client, redis_url, "refreshd:")
        patch.setattr(Celery, "send_task", send)
        deadline = asyncio.get_running_loop().time() + 60
        given = CallbackInput()
        reply = await tasks.call(
            "t", "q", SECRET, given, deadline=deadline, on_send=lambda: None, broker="rediss://acme/0"
        )
        await client.aclose()
        return reply

    with pytest.MonkeyPatch.context() as patch:
        assert asyncio.run(call()).failure is not None
    assert asked == ["rediss://acme/0?ssl_cert_reqs=required"]


def test_a_queue_that_nobody_empties_is_named(bench: Bench) -> None:
    attempt = run(bench, "nobody")
    assert (attempt.outcome, attempt.reason) == (Outcome.RETRY, "callback_failed")
    assert attempt.error_description is not None
    assert (
        "no worker took the task 'acme.refresh' from the queue 'callback.nobody'" in attempt.error_description
    )
    assert bench.runtime.redis.keys("refreshd:envelope:*") == []


def test_an_answer_outlives_a_redis_that_is_away_while_it_is_awaited(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        asker, client = connect(server.url), connect_async(server.url)
        tasks = TaskClient(client, server.url, "refreshd:")
        threads: list[threading.Thread] = []

        def begin(*what: Any) -> None:
            threads.append(threading.Thread(target=what[0], args=what[1:]))
            threads[-1].start()

        def refresh_while_redis_restarts(inputs: dict[str, Any]) -> dict[str, Any]:
            server.kill()
            begin(server.start)
            return refresh(inputs)

        def send(_broker: str, _task: str, _queue: str, envelope: str, _left_s: float) -> None:
            begin(CallbackTask(asker, SECRET).answer, envelope, refresh_while_redis_restarts)

        async def call() -> Reply:
            deadline = asyncio.get_running_loop().time() + 120
            given = CallbackInput(access_token="a", refresh_token="r")
            reply = await tasks.call("t", "q", SECRET, given, deadline=deadline, on_send=lambda: None)
            await client.aclose()
            return reply

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tasks, "_send", send)
            reply = asyncio.run(call())
        for thread in threads:
            thread.join()
        asker.close()

    assert reply.failure is None, reply.failure
    assert reply.value == {"access_token": "a-new", "refresh_token": "r-new"}


def test_an_answer_outlives_the_connection_that_it_is_lost_on(redis_service: RedisServer) -> None:
    """Redis has sent it, and nobody got it: a rotated token, of which there is no other copy."""
    asker = connect(redis_service.url)
    threads: list[threading.Thread] = []

    async def call() -> Reply:
        async with Proxy(redis_service.port) as proxy:
            client = connect_async(redis_service.url.replace(f":{redis_service.port}/", f":{proxy.port}/"))
            tasks = TaskClient(client, redis_service.url, "refreshd:")

            def refresh_and_lose_the_reply(inputs: dict[str, Any]) -> dict[str, Any]:
                proxy.loses_reply = True
                return refresh(inputs)

            def send(_broker: str, _task: str, _queue: str, envelope: str, _left_s: float) -> None:
                work = CallbackTask(asker, SECRET).answer
                threads.append(threading.Thread(target=work, args=(envelope, refresh_and_lose_the_reply)))
                threads[-1].start()

            patch.setattr(tasks, "_send", send)
            deadline = asyncio.get_running_loop().time() + 10
            given = CallbackInput(access_token="a", refresh_token="r")
            reply = await tasks.call("t", "q", SECRET, given, deadline=deadline, on_send=lambda: None)
            assert not proxy.loses_reply, "none was lost"
            await client.aclose()
            return reply

    with pytest.MonkeyPatch.context() as patch:
        reply = asyncio.run(call())
    for thread in threads:
        thread.join()

    assert reply.failure is None, reply.failure
    assert reply.value == {"access_token": "a-new", "refresh_token": "r-new"}
    assert asker.keys("refreshd:envelope:*") == []
    asker.close()


def test_an_envelope_is_taken_once(redis_url: str) -> None:
    redis, envelopes = connect(redis_url), Envelopes(SECRET)
    redis.set(
        envelopes.inputs_key("one"),
        envelopes.seal("one", "inputs", {"access_token": "a", "refresh_token": "r"}),
    )
    task = CallbackTask(redis, SECRET)
    task.answer("one", refresh)
    with pytest.raises(EnvelopeGone):
        task.answer("one", refresh)
    sealed = str(redis.lpop(envelopes.answer_key("one")))
    assert envelopes.open("one", "answer", sealed)["returned"]["access_token"] == "a-new"
    redis.close()


def test_a_rotated_token_is_sent_back_whatever_stands_beside_it(redis_url: str) -> None:
    redis, envelopes = connect(redis_url), Envelopes(SECRET)
    redis.set(envelopes.inputs_key("one"), envelopes.seal("one", "inputs", {}))
    CallbackTask(redis, SECRET).answer("one", lambda _: {"refresh_token": "new", "at": datetime.now(UTC)})
    sealed = str(redis.lpop(envelopes.answer_key("one")))
    assert envelopes.open("one", "answer", sealed)["returned"]["refresh_token"] == "new"
    redis.close()


@pytest.mark.parametrize(
    ("envelope", "what", "secret"),
    [
        ("two", "inputs", SECRET),
        ("one", "answer", SECRET),
        ("one", "inputs", base64.b64encode(bytes(32)).decode()),
    ],
    ids=["another name", "another kind", "another secret"],
)
def test_an_envelope_opens_under_its_own_name_and_secret_only(envelope: str, what: str, secret: str) -> None:
    sealed = Envelopes(SECRET).seal("one", "inputs", {"a": 1})
    assert Envelopes(f"whsec_{SECRET}").open("one", "inputs", sealed) == {"a": 1}
    with pytest.raises(EnvelopeBroken):
        Envelopes(secret).open(envelope, what, sealed)


@pytest.mark.parametrize("secret", ["", "not base64!", base64.b64encode(b"short").decode()])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="base64 of 32 bytes"):
        Envelopes(secret)
