"""Texts near to good ones: a piece of the corpus, cut, doubled, spliced and sprinkled with what parsers dislike."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from hypothesis import strategies as st

#: Bytes that have ended parsers before: half characters, deep nesting, numbers without end, words of other formats.
AWKWARD: Final = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r", b"\n", b"\r\n", b"\t", b'"', b"'", b"\\", b"\\u",
    b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"=", b"&", b"%", b"%ff", b"#", b"|", b">", b"- ", b"? ", b"---\n",
    b"<<: *a", b"&a ", b"*a", b"!!python/object/apply:os.system ", b"${x}", b"${", b"null", b"true", b"NaN", b"-Infinity",
    b"1e999", b"-1", b"0", b"9" * 400, b"9" * 5000, b"1_0", b"0x10", b"[" * 3000, b'{"a":' * 1500, b"a: " * 50,
    b"2026-02-30T25:61:00Z", b"0001-01-01T00:00:00+23:59", b"\xe2\x80\xa8", "\u0661\u0662".encode(), b"A" * 70_000,
)  # fmt: skip


class Check(Protocol):
    """Tries one case; what it raises is a finding."""

    def __call__(self, case: Any, /) -> None: ...


class Opened(Protocol):
    """Starts what a target needs (nothing, a Redis, a worker), and ends it."""

    def __call__(self) -> AbstractContextManager[Check]: ...


@dataclass(frozen=True)
class Target:
    """Something that parses: cases for it, and what must hold for each."""

    cases: st.SearchStrategy[Any]
    opened: Opened
    #: One case holds so many inputs.
    inputs_a_case: int = 1


def one_of_many(pieces: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Choose by number: hypothesis would write all of them into its messages."""
    return st.integers(min_value=0, max_value=len(pieces) - 1).map(lambda nth: pieces[nth])


_PLACE: Final = st.floats(min_value=0, max_value=1, exclude_max=True)
_EDITS: Final = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "delete", "double", "swap"]),
        _PLACE,
        _PLACE,
        one_of_many(AWKWARD) | st.binary(max_size=8),
    ),
    max_size=6,
)


def mutated(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return pieces of a corpus with up to six edits, and a few that are not near to anything."""
    near = st.builds(_edited, one_of_many(corpus), _EDITS)
    return near | near | near | st.binary(max_size=200)


def _edited(text: bytes, edits: Sequence[tuple[str, float, float, bytes]]) -> bytes:
    for edit, place, extent, piece in edits:
        start = int(place * (len(text) + 1))
        end = min(len(text), start + int(extent * 40))
        match edit:
            case "insert":
                text = text[:start] + piece + text[start:]
            case "replace":
                text = text[:start] + piece + text[end:]
            case "delete":
                text = text[:start] + text[end:]
            case "double":
                text = text[:end] + text[start:end] * 3 + text[end:]
            case _:
                text = text[:start] + text[end:] + text[start:end]
    return text
