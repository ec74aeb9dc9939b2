"""Accounts from a properties file, as webMethods' configuration variables are: PREFIX.oauth_v20.refreshToken=...

Lines of one prefix are one account, whose id is the prefix. The format is `java.util.Properties`'. What is no column
here (pool sizes, timeouts of the connection) is named and left out; a value that stands elsewhere, encrypted or in the
environment, is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from msgspec import Struct, field

from worker.accounts.columns import column_of
from worker.accounts.formats.row import ROW_MAX_BYTES, Raw, UnreadableFile

_ID: Final = "id"
#: The administration pages' own prefix: CPROP$oauth_v20$Basic$oauth_v20.refreshToken.
_PAGE_PREFIX: Final = re.compile(r"CPROP\$\w+\$\w+\$")
#: webMethods' keys have two words: a group and a name.
_TWO_WORDS: Final = re.compile(r"(?:(?P<prefix>.*)\.)?(?P<key>[^.]+\.[^.]+)")
_ONE_WORD: Final = re.compile(r"(?P<prefix>.*)\.(?P<key>[^.]+)")
_NOT_IN_AN_ID: Final = re.compile(r"[^A-Za-z0-9._:@-]+")
#: Values that only the Integration Server can read.
_ELSEWHERE: Final = re.compile(r"\$(?:env|secret)\{|\{(?:AES|PBE)\}")
_SEPARATOR: Final = re.compile(r"(?P<key>(?:\\.|[^\\:=\s])*)\s*[:=]?\s*(?P<value>.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class _Account(Struct):
    line: int
    row: dict[str, object]
    left_out: list[str] = field(default_factory=list)
    reason: str = ""


def properties_rows(stream: BinaryIO, name: str) -> Iterator[Raw]:
    """Read the accounts, in the order in which the file names them first.

    Raises:
        UnreadableFile: it is not UTF-8 text, or no line names a column.
    """
    accounts: dict[str, _Account] = {}
    try:
        for line, text in _logical_lines(stream):
            _take(accounts, line, text)
    except UnicodeDecodeError:
        raise UnreadableFile(f"{name}: is not UTF-8 text (save it as UTF-8)") from None
    if accounts and not any(account.reason or account.row.keys() - {_ID} for account in accounts.values()):
        raise UnreadableFile(f"{name}: no line names a column, such as PREFIX.oauth_v20.refreshToken=...")
    return (
        Raw(one.line, None if one.reason else one.row, one.reason, cells=True, left_out=tuple(one.left_out))
        for one in accounts.values()
    )


def _take(accounts: dict[str, _Account], line: int, text: str) -> None:
    found = _SEPARATOR.fullmatch(text)
    if found is None:
        return
    name, value = _PAGE_PREFIX.sub("", _unescaped(found["key"])), _unescaped(found["value"])
    prefix, key = _split(name)
    account = accounts.setdefault(prefix, _Account(line, _new_row(prefix)))
    if column_of(key) is None:
        account.left_out.append(key)
    elif _ELSEWHERE.search(value):
        account.reason = (
            account.reason or f"{key}: its value stands elsewhere: write it into the file in clear"
        )
    elif key in account.row and key != _ID:
        account.reason = account.reason or f"{key}: is given twice"
    else:
        account.row[key] = value


def _split(name: str) -> tuple[str, str]:
    """Split a key into its account's prefix and the name of a column, or of what would be one."""
    one = _ONE_WORD.fullmatch(name)
    if one is not None and column_of(one["key"]) is not None:
        return one["prefix"], one["key"]
    two = _TWO_WORDS.fullmatch(name)
    return (two["prefix"] or "", two["key"]) if two is not None else ("", name)


def _new_row(prefix: str) -> dict[str, object]:
    account = _NOT_IN_AN_ID.sub("-", prefix).strip("-")
    return {_ID: account} if account else {}


def _logical_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Return the lines that say something; one that ends in a backslash goes on in the next."""
    number, begun, text = 0, 0, ""
    while raw := stream.readline(ROW_MAX_BYTES):
        number += 1
        piece = raw.decode().strip("\r\n").lstrip(" \t\f")
        if not text and (not piece or piece[0] in "#!"):
            continue
        begun = begun if text else number
        text += piece
        if len(text) <= ROW_MAX_BYTES and (len(text) - len(text.rstrip("\\"))) % 2:
            text = text[:-1]
            continue
        yield begun, text
        text = ""
    if text:
        yield begun, text


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2])

    return _ESCAPE.sub(plain, text)
