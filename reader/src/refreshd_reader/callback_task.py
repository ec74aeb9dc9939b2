"""Answer refreshd's callbacks from your own Celery task, in its own environment.

    from refreshd_reader.callback_task import CallbackTask

    callback = CallbackTask.from_url("redis://...", secret=os.environ["ACME_CALLBACK_SECRET"])

    @app.task(name="acme.refresh", ignore_result=True)
    def refresh(envelope: str) -> None:
        callback.answer(envelope, ask_acme)

    def ask_acme(inputs: dict[str, Any]) -> dict[str, Any]: ...

The message holds the name of an envelope and nothing else. The inputs lie in Redis under that name, sealed with
AES-256-GCM, for as long as the call may take; they can be taken once. The answer goes back the same way. So broker,
result backend, events and Flower hold no secret, and an exception of yours reaches none of them either: refreshd
keeps it in the account's history. Needs `refreshd-reader[callback]`.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis import ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from refreshd_reader.callback_output import as_json
from refreshd_reader.contract import DEFAULT_PREFIX
from refreshd_reader.redis.cluster import ClusterClient, is_cluster, usable
from refreshd_reader.redis.url import pool_of

#: An answer that is not taken expires after this many seconds. refreshd may take it in a later try only.
ANSWER_KEPT_S: Final = 600
#: So long an answer is sent again where Redis can't be reached, seconds.
_SENT_AGAIN_S: Final = 60
#: Seconds before an answer is sent again after Redis was unreachable.
_PAUSE_S: Final = 0.2
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # NIST SP 800-38D section 8.2: 96 bits

Function = Callable[[dict[str, Any]], Any]


class EnvelopeGone(Exception):
    """The envelope does not exist: it was taken before, or has expired. The function was not called."""


class EnvelopeBroken(Exception):
    """The envelope can't be decrypted: refreshd and this task have different secrets, or it was changed."""


class CallbackFailed(Exception):
    """The callback raised; the error is in the account's history, and nowhere else."""


class Envelopes:
    """Names, seals and opens envelopes. Both sides have the same secret.

    Args:
        secret: base64 of 32 bytes, with or without `whsec_` in front.
        prefix: refreshd's prefix of Redis keys.

    Raises:
        ValueError: not a secret.
    """

    def __init__(self, secret: str, prefix: str = DEFAULT_PREFIX) -> None:
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(f"not a secret of a callback task; expected base64 of {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)
        self._prefix = prefix

    def inputs_key(self, envelope: str) -> str:
        return f"{self._prefix}envelope:{{{envelope}}}"

    def answer_key(self, envelope: str) -> str:
        return f"{self._prefix}envelope:{{{envelope}}}:answer"

    def seal(self, envelope: str, what: str, content: Any) -> str:
        """Return JSON content sealed and bound to its envelope and kind: `inputs` or `answer`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(content).encode(), f"{envelope}\0{what}".encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, envelope: str, what: str, sealed: str | bytes) -> Any:
        """Return the sealed content.

        Raises:
            EnvelopeBroken: it can't be decrypted.
        """
        try:
            raw = base64.b64decode(sealed, validate=True)
            plain = self._cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], f"{envelope}\0{what}".encode()
            )
            return json.loads(plain)
        except (InvalidTag, binascii.Error, ValueError):
            raise EnvelopeBroken(
                "the envelope can't be decrypted: is the secret the one that REFRESHD_CALLBACKS_FILE names?"
            ) from None


class CallbackTask:
    """The task's side: takes the inputs, calls a function, sends its answer."""

    def __init__(self, redis: Redis, secret: str, prefix: str = DEFAULT_PREFIX) -> None:
        self._redis = redis
        self._envelopes = Envelopes(secret, prefix)

    @classmethod
    def from_url(cls, url: str, *, secret: str, prefix: str = DEFAULT_PREFIX) -> CallbackTask:
        """Return a task that answers through this Redis. It connects at the first call.

        Raises:
            UnusableUrl: not a Redis URL, or it has options that redis-py does not know.
        """
        if is_cluster(url):
            cluster: Any = ClusterClient(usable(url))
            return cls(cluster, secret, prefix)
        return cls(Redis.from_pool(pool_of(ConnectionPool, url)), secret, prefix)

    def answer(self, envelope: str, function: Function) -> None:
        """Call the function with the envelope's content and send its return value.

        Args:
            envelope: the task's only argument.
            function: takes the inputs as a dict, returns the outputs as one (docs/callbacks.md).

        Raises:
            EnvelopeGone, EnvelopeBroken: the function was not called.
            CallbackFailed: it raised; the error was sent to refreshd.
        """
        sealed: Any = self._redis.getdel(self._envelopes.inputs_key(envelope))
        if sealed is None:
            raise EnvelopeGone("no such envelope: it was taken before, or has expired")
        inputs = self._envelopes.open(envelope, "inputs", sealed)
        try:
            answer = {"returned": as_json(function(inputs))}
        except Exception as error:  # noqa: BLE001  (Celery would store its message)
            self._send(envelope, {"raised": {"type": type(error).__name__, "words": str(error)}})
        else:
            self._send(envelope, answer)
            return
        raise CallbackFailed("the callback raised: `refreshd history ACCOUNT` shows the error")

    def _send(self, envelope: str, answer: Mapping[str, Any]) -> None:
        key, sealed = self._envelopes.answer_key(envelope), self._envelopes.seal(envelope, "answer", answer)
        until = time.monotonic() + _SENT_AGAIN_S
        while True:
            try:
                with self._redis.pipeline(transaction=True) as pipeline:
                    pipeline.rpush(key, sealed)
                    pipeline.expire(key, ANSWER_KEPT_S)
                    pipeline.execute()
            except (RedisConnectionError, RedisTimeoutError, OSError):
                # This may be the only copy of a rotated token: retry while Redis is unreachable. Sent twice, it is taken once.
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return
