"""What a callback printed and logged: the beginning and the end of it, without a secret."""

from __future__ import annotations

from typing import Final

from worker.redaction.encodings import base64_of, longest_first, masked
from worker.redaction.log import masked as masked_by_looks

#: So much of an output is kept in the history, characters: half of it from the beginning, half from the end.
KEPT: Final = 16_384
#: So much of it is held until it is redacted, bytes, from the beginning and from the end: room for long secrets.
HELD: Final = 128 * 1024


class Captured:
    """Takes any amount of output, and holds its beginning and its end."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def feed(self, output: bytes) -> None:
        self.size += len(output)
        room = HELD - len(self._head)
        self._head += output[:room]
        self._tail += output[room:] if room < len(output) else b""
        if len(self._tail) > 2 * HELD:
            del self._tail[:-HELD]

    def text(self, redaction: OutputRedaction) -> str:
        """Return what is kept, redacted. A secret that was cut in two by what was left out is left out whole."""
        head, tail = _text(self._head), _text(self._tail[-HELD:])
        whole = self.size <= len(self._head) + len(self._tail) and len(self._tail) <= HELD
        if whole:
            head, tail = redaction.text(head + tail), ""
        else:
            edge = redaction.longest
            head, tail = redaction.text(head[: len(head) - edge]), redaction.text(tail[edge:])
        if whole and len(head) <= KEPT:
            return head
        if whole:
            head, tail = head[: KEPT // 2], head[-KEPT // 2 :]
        left_out = f"\n[... {self.size:,} bytes in all; the middle is left out ...]\n"
        return head[: KEPT // 2] + left_out + tail[-KEPT // 2 :]


class OutputRedaction:
    """The secrets of one run, in every form in which they are likely to be printed.

    Unknown ones (a callback printed the provider's answer, and failed) are recognized by name and shape.
    """

    def __init__(self, secrets: list[str], *, pairs: list[tuple[str, str]] | None = None) -> None:
        """Take the secrets, and (name, secret) pairs that may be sent as HTTP Basic."""
        basic = {base64_of(f"{name}:{secret}") for name, secret in pairs or [] if secret}
        self._forms = sorted({*longest_first(secrets), *basic}, key=len, reverse=True)

    @property
    def longest(self) -> int:
        return len(self._forms[0]) if self._forms else 0

    def text(self, words: str) -> str:
        return masked_by_looks(masked(words, self._forms))


def _text(raw: bytes | bytearray) -> str:
    return raw.decode(errors="replace")
