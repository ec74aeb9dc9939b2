"""Secrets that can be told apart wherever they turn up, and the search for them in every spelling."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import Final

#: Behind the word that is searched for: what URLs, JSON, HTML and base64 each spell differently.
_SPELT_DIFFERENTLY: Final = ' "+/=&<%é'


@dataclass(frozen=True, slots=True)
class Leak:
    """A marker where none may be."""

    marker: str
    where: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.marker} in {self.where}: {self.excerpt}"


@dataclass(slots=True)
class Markers:
    """Makes markers and finds them. A marker's word is letters and digits: no encoding but base64 and hex changes it."""

    words: dict[str, str] = field(default_factory=dict)

    def word(self, name: str) -> str:
        """Plant a secret of letters and digits, for where nothing else may stand (a password in a URL)."""
        word = f"mk{name.replace('_', '').replace('-', '')}{secrets.token_hex(5)}"
        self.words[word] = name
        return word

    def text(self, name: str) -> str:
        """Plant a secret that each encoding spells differently."""
        return self.word(name) + _SPELT_DIFFERENTLY

    def token(self, name: str) -> str:
        """Plant a token, which is of ASCII alone (RFC 6749 appendix A.12)."""
        return self.text(name).encode("ascii", "ignore").decode()

    def known(self, text: str, name: str) -> str:
        """Search for a secret that was made elsewhere (a line of a key)."""
        self.words[text] = name
        return text

    def find(self, where: str, content: str | bytes) -> list[Leak]:
        """Return the markers that a content holds, in any spelling."""
        text = content if isinstance(content, str) else content.decode("latin-1")
        # What is encoded is also broken into lines.
        forms = {text, text.replace("\\n", "").replace("\n", "")}
        return [
            Leak(name, where, repr(one[max(0, at - 60) : at + 20]))
            for one in forms
            for word, name in list(self.words.items())  # providers plant more meanwhile
            for spelling in spellings(word)
            if (at := one.find(spelling)) >= 0
        ]


@cache
def spellings(word: str) -> frozenset[str]:
    """Return what a word looks like: as it is, in hex, and in base64 wherever in a longer text it begins."""
    raw = word.encode()
    found = {word, raw.hex(), raw.hex().upper()}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        # The first and last characters also hold bits of the neighbours.
        inner = encoded[(0, 2, 3)[before] : len(encoded) - 2]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return frozenset(found)
