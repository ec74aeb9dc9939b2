"""Callbacks that are Celery tasks of the operator's: the message names an envelope, and holds no secret.

A task that was taken may rotate the refresh token and answer after its call is over, or after this process ended. So each run
is noted in Redis before it is asked for, and the next one for the same refresh token waits for its answer before it asks anew.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from typing import Any, Final

import msgspec
from celery import Celery
from kombu.exceptions import OperationalError
from msgspec import Struct
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import RedisError

from models.answer import Answer, Fault
from models.callback import CallbackInput
from models.token import Secret
from refreshd_reader.callback_task import ANSWER_KEPT_S, EnvelopeBroken, Envelopes
from worker.broker.kombu import broker_tls, broker_url, sending_options, transport_options
from worker.callbacks.host.result import failed
from worker.callbacks.host.run_result import Reply
from worker.clock import wall_clock
from worker.redis.client import answered

#: One wait for the answer; shorter than the socket's own time-out.
_WAIT_S: Final = 2.0
#: Before Redis is asked again, where it was away.
_PAUSE_S: Final = 0.2
#: An envelope that no worker took is still there when its call is over; then it is deleted.
_KEPT_AFTER_S: Final = 10.0
#: The least time in which a task can be sent, taken and answered.
_LEAST_S: Final = 0.5
#: Messages that are sent to one broker at once: each takes milliseconds. A broker that hangs holds these threads and no others;
#: fewer than the connections of Celery's pool (10), for which a thread would wait without end.
_SENDERS: Final = 8
#: kombu's URLs of Redis: its own default is to wait for an answer without end.
_REDIS_SCHEMES: Final = ("redis", "sentinel")


class _Run(Struct, frozen=True):
    """One run of an account's task, as it is noted in Redis."""

    envelope: str
    #: Fingerprint of the refresh token that it was given.
    refresh_fp: str
    #: Epoch seconds.
    asked_at: float


class TaskClient:
    """Sends envelopes to tasks, and waits for their answers.

    Args:
        redis: where envelopes lie for a moment.
        redis_url: the broker.
        prefix: of the keys.
        now: epoch seconds.
    """

    def __init__(
        self, redis: Redis, redis_url: str, prefix: str, *, now: Callable[[], float] = wall_clock
    ) -> None:
        self._redis: Any = redis
        self._prefix = prefix
        self._now = now
        self._own_url = redis_url
        self._celeries: dict[str, Celery] = {}
        self._senders: dict[str, ThreadPoolExecutor] = {}

    async def call(
        self,
        task: str,
        queue: str,
        secret: str,
        inputs: CallbackInput,
        *,
        deadline: float,
        on_send: Callable[[], None],
        broker: str | None = None,
    ) -> Reply:
        """Have a task run, and wait for its answer until the deadline (the event loop's time).

        Where an earlier run has the same refresh token and gave no answer, that one is waited for, and none is asked for.
        `broker` is the URL of the task's own, None: refreshd's.
        """
        envelopes = Envelopes(secret, self._prefix)
        left_s = deadline - asyncio.get_running_loop().time()
        if left_s < _LEAST_S:
            return Reply(failure=Answer(fault=Fault.NOT_SENT, fault_detail="the deadline was over"))
        noted = f"{self._prefix}callback-run:{{{inputs.account_id}}}"
        run = _Run(secrets.token_urlsafe(16), Secret(inputs.refresh_token).fingerprint(), self._now())
        inputs_key, answer_key = envelopes.inputs_key(run.envelope), envelopes.answer_key(run.envelope)
        began = False
        unsure: Answer | None = None
        try:
            earlier = await self._earlier(noted, run) if inputs.refresh_token else None
            if earlier is not None and not await self._withdrawn(envelopes.inputs_key(earlier.envelope)):
                return await self._late(earlier, noted, envelopes, deadline)
            kept_ms = int((left_s + _KEPT_AFTER_S) * 1000)
            await answered(
                self._redis.set(noted, msgspec.json.encode(run), px=kept_ms + ANSWER_KEPT_S * 1000)
            )
            sealed = envelopes.seal(run.envelope, "inputs", inputs.model_dump(mode="json"))
            await answered(self._redis.set(inputs_key, sealed, px=kept_ms))
            on_send()
            began = True
            await self._ask(broker, task, queue, run.envelope, deadline=deadline, left_s=left_s)
        except (RedisError, OperationalError, OSError) as error:
            never_taken = await self._withdrawn(inputs_key)
            unsure = Answer(
                fault=Fault.CALLBACK,
                fault_detail=f"the task could not be asked: {type(error).__name__}",
                spent=not never_taken,
            )
            # The broker took the message all the same, and a worker has the inputs: its answer is waited for.
            if never_taken or not began:
                await self._forget(noted)
                return Reply(failure=unsure)
        answer, trouble = await self._answer(answer_key, deadline)
        if answer is not None:
            await self._forget(noted, answer_key)
            return _opened(envelopes, run.envelope, answer)
        never_taken = await self._withdrawn(inputs_key)
        if never_taken:
            await self._forget(noted)
        if unsure is not None:
            return Reply(failure=replace(unsure, spent=not never_taken))
        return Reply(failure=_no_answer(task, queue, left_s, trouble, never_taken=never_taken))

    async def _earlier(self, noted: str, run: _Run) -> _Run | None:
        """Return the run before this one, where it was given the same refresh token and nobody has seen its answer.

        Raises:
            RedisError: Redis is away.
        """
        found: Any = await answered(self._redis.get(noted))
        if found is None:
            return None
        try:
            earlier = msgspec.json.decode(found, type=_Run)
        except msgspec.MsgspecError:  # another version's
            return None
        return earlier if earlier.refresh_fp == run.refresh_fp else None

    async def _late(self, run: _Run, noted: str, envelopes: Envelopes, deadline: float) -> Reply:
        """Wait for the answer of an earlier run. One that gives none is waited for once."""
        answer, trouble = await self._answer(envelopes.answer_key(run.envelope), deadline)
        begun = f"{datetime.fromtimestamp(run.asked_at, UTC):%H:%M:%S} UTC"
        if answer is None:
            words = f"the run that began at {begun} has the refresh token and gave no answer"
            if trouble is None:
                await self._forget(noted)
                words = f"{words}: the next try asks anew"
            else:
                words = f"{words}; Redis, where it is awaited: {type(trouble).__name__}"
            return Reply(failure=Answer(fault=Fault.TIMEOUT, fault_detail=words, spent=True))
        await self._forget(noted, envelopes.answer_key(run.envelope))
        reply = _opened(envelopes, run.envelope, answer)
        notes = (f"this is the answer of the run that began at {begun}; none was begun since",)
        return replace(reply, notes=notes, asked_at=run.asked_at)

    async def _ask(
        self, broker: str | None, task: str, queue: str, envelope: str, *, deadline: float, left_s: float
    ) -> None:
        url = broker or self._own_url
        async with asyncio.timeout_at(deadline):
            await asyncio.get_running_loop().run_in_executor(
                self._sender(url), self._send, url, task, queue, envelope, left_s
            )

    async def _forget(self, *keys: str) -> None:
        """Delete what was noted of a run, then its answer: each ends by itself, too."""
        with suppress(RedisError, OSError):
            for key in keys:
                await answered(self._redis.delete(key))

    async def _withdrawn(self, inputs_key: str) -> bool:
        """Delete the inputs, and return whether no worker had taken them."""
        try:
            return bool(await answered(self._redis.delete(inputs_key)))
        except (RedisError, OSError):
            return False

    async def aclose(self) -> None:
        """Close the connections to brokers. A message that a broker does not take is not waited for."""
        for sender in self._senders.values():
            sender.shutdown(wait=False, cancel_futures=True)
        for celery in self._celeries.values():
            await asyncio.to_thread(celery.close)

    def _sender(self, broker: str) -> ThreadPoolExecutor:
        sender = self._senders.get(broker)
        if sender is None:
            sender = ThreadPoolExecutor(_SENDERS, thread_name_prefix="refreshd-callback-send")
            self._senders[broker] = sender
        return sender

    def _send(self, broker: str, task: str, queue: str, envelope: str, left_s: float) -> None:
        celery = self._celeries.get(broker)
        if celery is None:
            url = broker_url(broker)
            celery = Celery("refreshd-callback-tasks", broker=url, set_as_current=False)
            celery.conf.update(task_ignore_result=True, task_serializer="json")
            if url.startswith(_REDIS_SCHEMES):
                own = broker == self._own_url
                celery.conf.broker_transport_options = (transport_options if own else sending_options)(broker)
                celery.conf.broker_use_ssl = broker_tls(broker)
            celery = self._celeries.setdefault(broker, celery)
        celery.send_task(task, args=[envelope], queue=queue, expires=left_s, retry=False)

    async def _answer(self, key: str, deadline: float) -> tuple[str | None, Exception | None]:
        """Wait for the answer; returns it, or what was last in the way.

        The task has its inputs by now, and its answer may be the only copy of a rotated token: a Redis that is away for a
        moment is waited for, and the answer stays there (moved to where it was) until it has arrived. Past the deadline it
        is looked for once: this process may have been paused.
        """
        loop, left_s = asyncio.get_running_loop(), inf
        trouble: Exception | None = None
        while left_s > 0:
            left_s = deadline - loop.time()
            try:
                found = await answered(self._redis.blmove(key, key, max(min(left_s, _WAIT_S), 0.01)))
            except (RedisError, OSError) as error:
                trouble = error
                await asyncio.sleep(max(min(left_s, _PAUSE_S), 0))
                continue
            if found is not None:
                return str(found), None
            trouble = None
        return None, trouble


def _no_answer(
    task: str, queue: str, waited_s: float, trouble: Exception | None, *, never_taken: bool
) -> Answer:
    """Return why there is none."""
    if never_taken:
        words = (
            f"no worker took the task {task!r} from the queue {queue!r} within {waited_s:.0f} s: none runs there on this "
            "broker, all are busy, or it knows no task of that name (its log says so)"
        )
        return Answer(fault=Fault.CALLBACK, fault_detail=words)
    words = f"the task gave no answer in {waited_s:.0f} s"
    if trouble is not None:
        words = f"{words}; Redis, where it is awaited: {type(trouble).__name__}"
    return Answer(fault=Fault.TIMEOUT, fault_detail=words, spent=True)


def _opened(envelopes: Envelopes, envelope: str, sealed: str) -> Reply:
    try:
        answer = envelopes.open(envelope, "answer", sealed)
    except EnvelopeBroken as error:
        return Reply(failure=failed(str(error)).answer)
    match answer:
        case {"returned": value}:
            return Reply(value)
        case {"raised": {"type": str(kind), "words": str(words)}}:
            return Reply(failure=failed(f"it raised {kind}: {words}").answer)
        case _:
            return Reply(failure=failed("the task's answer is none of ours").answer)
