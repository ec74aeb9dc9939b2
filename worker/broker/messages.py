"""Task messages: what one of ours looks like, and a signature that only who has a key can make.

Whoever may write to the broker can write anything. A message of another shape than ours is refused before Celery
takes it apart: some shapes end the process, others hold a worker's place in the queue for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

from worker.crypto.cipher import parse_keys

#: The header that holds `v1.KEYID.UNTIL.HEX`.
SIGNATURE: Final = "refreshd_signature"
#: A signature holds for so long, seconds. Our own messages end sooner, by their `expires`, which it covers.
SIGNATURE_VALID_S: Final = 3600
#: A group of 1,000 accounts with the longest ids takes 150 kB.
BODY_MAX_BYTES: Final = 512 * 1024

MALFORMED: Final = "malformed"
UNSIGNED: Final = "unsigned"
FORGED: Final = "forged"
KEY_UNKNOWN: Final = "signed_with_an_unknown_key"
SIGNATURE_EXPIRED: Final = "signature_expired"

#: Celery's ids have 36 characters.
ID_MAX: Final = 255
#: Digits of a point in time, seconds: enough for 30,000 years.
_DIGITS_MAX: Final = 12
_VERSION: Final = "v1"
_OURS: Final = "refreshd."
_TEXT_MAX: Final = 10_000
_TEXT_OR_NONE: Final = (str, type(None))
#: Celery's protocol 2. Whatever else stands among the headers is not read by a worker.
_HEADERS: Final[Mapping[str, tuple[type, ...]]] = {
    "lang": (str,),
    "eta": (
        type(None),
    ),  # nothing is counted down here, and such a message stays in a worker's memory until then
    "expires": _TEXT_OR_NONE,
    "group": _TEXT_OR_NONE,
    "retries": (int,),
    "shadow": _TEXT_OR_NONE,
    "root_id": _TEXT_OR_NONE,
    "parent_id": _TEXT_OR_NONE,
    "argsrepr": _TEXT_OR_NONE,
    "kwargsrepr": _TEXT_OR_NONE,
    "origin": _TEXT_OR_NONE,
    "ignore_result": (bool, type(None)),
    "replaced_task_nesting": (int,),
    "stamps": (dict, type(None)),
    "stamped_headers": (list, type(None)),
}
#: What Redis' transport adds to a message that it delivers again.
_NOT_SIGNED: Final = frozenset({SIGNATURE, "redelivered", "compression"})


class RefusedMessage(Exception):
    """A message that is not acted on. `reason` is a word of this module; the text holds nothing of the message."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


def check_shape(headers: Mapping[str, Any], body: str | bytes, content_type: str | None) -> None:
    """Compare a message with what ours look like.

    Raises:
        RefusedMessage: it is none.
    """
    task, task_id, limits = headers.get("task"), headers.get("id"), headers.get("timelimit", [None, None])
    if not isinstance(task, str) or not task.startswith(_OURS):
        raise _malformed("its task is none of ours")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= ID_MAX:
        raise _malformed("its id is none")
    if content_type != "application/json" or len(body) > BODY_MAX_BYTES:
        raise _malformed(f"its body is no JSON of up to {BODY_MAX_BYTES:,} bytes")
    for name, kinds in _HEADERS.items():
        value = headers.get(name, _ABSENT)
        if value is not _ABSENT and type(value) not in kinds:
            raise _malformed(f"its header {name} is no {' or '.join(kind.__name__ for kind in kinds)}")
        if isinstance(value, str) and len(value) > _TEXT_MAX:
            raise _malformed(f"its header {name} is too long")
    if not _are_limits(limits):
        raise _malformed("its header timelimit is none")
    _check_body(body)


def _check_body(body: str | bytes) -> None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _malformed("its body is no JSON") from None
    match document:
        case [list(), dict(), dict() | None as embed] if not any((embed or {}).values()):
            return
    raise _malformed("its body is no [args, kwargs, {}]: nothing here is chained to anything")


def _are_limits(limits: object) -> bool:
    match limits:
        case None:
            return True
        case [soft, hard]:
            return all(map(_is_limit, (soft, hard)))
    return False


def _is_limit(limit: object) -> bool:
    return limit is None or (isinstance(limit, int | float) and not isinstance(limit, bool) and limit > 0)


class Signer:
    """Signs with the first key, verifies with any (HMAC-SHA256, RFC 2104)."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self._first = next(iter(self._keys))

    @classmethod
    def of(cls, text: str) -> Signer:
        """Read `ID:BASE64[,ID:BASE64...]`.

        Raises:
            SettingsError: a part is no key.
        """
        return cls(parse_keys(text, "REFRESHD_MESSAGE_KEYS"))

    def sign(self, headers: Mapping[str, Any], body: str | bytes, *, now: float) -> str:
        """Return the signature of a message, for its header. `now` is epoch seconds."""
        until = int(now) + SIGNATURE_VALID_S
        return f"{_VERSION}.{self._first}.{until}.{self._digest(self._first, until, headers, body)}"

    def verify(self, headers: Mapping[str, Any], body: str | bytes, *, now: float) -> None:
        """Compare a message with its signature.

        Raises:
            RefusedMessage: it has none, or one that is not of this message, of no key that is known, or over.
        """
        signature = headers.get(SIGNATURE)
        if signature is None:
            raise RefusedMessage(UNSIGNED, "REFRESHD_MESSAGE_KEYS is set here, and was not where it was sent")
        version, key_id, until, digest, *more = [*str(signature)[:500].split("."), "", "", ""]
        if (
            version != _VERSION
            or any(more)
            or not (until.isascii() and until.isdigit())
            or len(until) > _DIGITS_MAX
        ):
            raise RefusedMessage(FORGED)
        if key_id not in self._keys:
            raise RefusedMessage(KEY_UNKNOWN, "add the key that it was signed with, or restart its sender")
        expected = self._digest(key_id, int(until), headers, body)
        if not hmac.compare_digest(expected.encode(), digest.encode()):
            raise RefusedMessage(FORGED)
        if now > int(until):
            raise RefusedMessage(SIGNATURE_EXPIRED)

    def _digest(self, key_id: str, until: int, headers: Mapping[str, Any], body: str | bytes) -> str:
        covered = {name: value for name, value in headers.items() if name not in _NOT_SIGNED}
        text = json.dumps(covered, sort_keys=True, separators=(",", ":"), default=str)
        raw = body.encode(errors="surrogatepass") if isinstance(body, str) else body
        content = b"\0".join((b"refreshd message", str(until).encode(), text.encode(), raw))
        return hmac.new(self._keys[key_id], content, hashlib.sha256).hexdigest()


_ABSENT: Final = object()


def _malformed(detail: str) -> RefusedMessage:
    return RefusedMessage(MALFORMED, detail)
