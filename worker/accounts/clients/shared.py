"""Clients made out of what many rows of a file share: `accounts import --clients`.

The file is read twice: first to see which rows are of one client, then to have those rows name it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from msgspec.structs import replace

from worker.accounts.clients.editor import ClientEditor
from worker.accounts.clients.entry import CLIENT_SECRET, NAME, read_client
from worker.accounts.columns import OF_THE_CLIENT, column_of
from worker.accounts.entry import RowRefused
from worker.accounts.formats.row import Raw
from worker.db.accounts.clients import Clients

#: A client of fewer rows stays with its account.
SHARED_BY: Final = 2
_GENERIC: Final = "generic"
_THEIRS: Final = frozenset({*OF_THE_CLIENT, CLIENT_SECRET})
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._:@-]+")
_NAME_MAX: Final = 128


class _Group(NamedTuple):
    """What rows of one client have in common, its secret left out."""

    provider: str
    token_url: str
    client_id: str
    client_auth: str


class SharedClients:
    """Finds the clients that rows share, stores them, and has the rows name them.

    A client that is stored already, of the same provider and id, is taken as it is: its secret may be newer than a file's.

    Args:
        clients: what is stored.
        editor: stores new ones.
    """

    def __init__(self, clients: Clients, editor: ClientEditor) -> None:
        self._editor = editor
        self._taken = {one.name for one in clients.all()}
        self._stored = {(one.provider, one.client_id): one.name for one in clients.all()}
        self._rows: Counter[tuple[_Group, str]] = Counter()
        #: Group -> the client's name, and the secret of the rows that name it; None: any.
        self._names: dict[_Group, tuple[str, str | None]] = {}
        #: Client -> rows that name it.
        self.named: Counter[str] = Counter()

    def learn(self, rows: Iterable[Raw]) -> None:
        """Count the rows of each client, then store the clients that several rows share."""
        for raw in rows:
            if raw.row is not None and (found := _client_of(raw.row)) is not None:
                self._rows[found] += 1
        for (group, secret), number in self._rows.most_common():
            if group in self._names:
                continue
            stored = self._stored.get((group.provider or _GENERIC, group.client_id))
            if stored is not None:
                self._names[group] = (stored, None)
            elif number >= SHARED_BY and (name := self._add(group, secret)) is not None:
                self._names[group] = (name, secret)
        self._rows.clear()

    def translate(self, rows: Iterable[Raw]) -> Iterator[Raw]:
        """Return the rows; those of a shared client name it, and bring no credentials of their own."""
        for raw in rows:
            name = None if raw.row is None else self._name_of(raw.row)
            if raw.row is None or name is None:
                yield raw
                continue
            self.named[name] += 1
            kept = {column: value for column, value in raw.row.items() if _field(column) not in _THEIRS}
            yield replace(raw, row={**kept, "client": name})

    def _name_of(self, row: Mapping[str, object]) -> str | None:
        found = _client_of(row)
        if found is None or found[0] not in self._names:
            return None
        name, secret = self._names[found[0]]
        return name if secret is None or secret == found[1] else None

    def _add(self, group: _Group, secret: str) -> str | None:
        """Store a client; None where nothing could be refreshed with it: its rows stay as they are."""
        name = self._free_name(group)
        fields = {**group._asdict(), "provider": group.provider or _GENERIC, CLIENT_SECRET: secret}
        try:
            self._editor.add(
                read_client({NAME: name} | {field: value for field, value in fields.items() if value})
            )
        except RowRefused:
            return None
        self._taken.add(name)
        return name

    def _free_name(self, group: _Group) -> str:
        place = group.provider or _host(group.token_url) or _GENERIC
        base = _NOT_IN_A_NAME.sub("-", f"{place}-{group.client_id}")[: _NAME_MAX - 8]
        names = (base if nth == 1 else f"{base}-{nth}" for nth in range(1, len(self._taken) + 2))
        return next(name for name in names if name not in self._taken)


def _client_of(row: Mapping[str, object]) -> tuple[_Group, str] | None:
    """Return the client of a row that brings its own, and its secret; None where it brings none."""
    found: dict[str, str] = {}
    for column, value in row.items():
        field = _field(column)
        if isinstance(value, str) and value.strip():
            found[field] = value.strip()
    if "client" in found or "client_id" not in found:
        return None
    group = _Group(
        found.get("provider", "").lower(),
        found.get("token_url", ""),
        found["client_id"],
        found.get("client_auth", ""),
    )
    return group, found.get(CLIENT_SECRET, "")


def _field(name: str) -> str:
    column = column_of(name)
    return "" if column is None else column.field


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
