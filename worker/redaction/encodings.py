"""How a secret looks when somebody else wrote it down: providers quote what they were sent, callbacks print what they have."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

#: Shorter values are words ("eu", "true"): masking them would garble a text and hide nothing.
SHORTEST: Final = 5
#: So much of a secret must be left to be found inside a longer text's base64.
_SHORTEST_ENCODED: Final = 8
MASK: Final = "[redacted]"
_ESCAPE: Final = re.compile(r"%[0-9A-F]{2}")


def longest_first(secrets: Iterable[str]) -> list[str]:
    """Return every spelling of the secrets that are long enough to be some, the longest first."""
    forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _spellings(secret)}
    return sorted(forms, key=len, reverse=True)


def masked(text: str, forms: Iterable[str]) -> str:
    """Return a text without any of these forms."""
    for form in forms:
        text = text.replace(form, MASK)
    return text


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode(errors="replace")).decode()


def _spellings(secret: str) -> Iterator[str]:
    """Return a secret as it is, and as URLs, JSON, HTML, reprs and base64 write it; of a longer text, each of its lines."""
    yield secret
    for quoted in (quote(secret, safe="", errors="replace"), quote(secret, errors="replace")):
        yield quoted
        yield quoted.replace("%20", "+")
        yield _ESCAPE.sub(lambda found: found[0].lower(), quoted)
    yield quote_plus(secret, errors="replace")
    for ascii_only in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield escaped.replace("/", "\\/")
        yield json.dumps(escaped, ensure_ascii=ascii_only)[1:-1]
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    yield html.escape(secret, quote=False)
    yield base64_of(secret)
    yield from _inside_base64(secret.encode(errors="replace"))
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= SHORTEST and not line.startswith("-----"))


def _inside_base64(raw: bytes) -> Iterator[str]:
    """Return what stands in the base64 of a longer text, wherever in it the secret begins (`user:password`, a body)."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        # The characters at both ends hold bits of the neighbours, too.
        inner = encoded[(0, 2, 3)[before] : len(encoded) - 1 if (before + len(raw)) % 3 else len(encoded)]
        if len(inner) >= _SHORTEST_ENCODED:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")
