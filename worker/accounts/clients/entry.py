"""A client as a person or a platform gives it: every value parsed, none compared with the stored one yet."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from models.tables.client import write_urls
from models.token import Secret
from worker.accounts.entry import Problem, RowRefused
from worker.accounts.return_urls import problem_of_entry
from worker.accounts.values import (
    client_auth,
    client_name,
    json_of,
    moment,
    plain_text,
    provider_name,
    resource_url,
    secret,
    shown,
)

NAME: Final = "name"
CLIENT_SECRET: Final = "client_secret"
RETURN_URLS: Final = "return_urls"
#: RFC 7591 section 3.2.1: epoch seconds; 0: it does not end.
EXPIRES_AT: Final = "client_secret_expires_at"
#: Field -> the client's column.
COLUMNS: Final = {
    "provider": "provider",
    "client_id": "client_id",
    "client_auth": "client_auth",
    "token_url": "token_url",
    "issuer": "issuer",
    RETURN_URLS: RETURN_URLS,
    EXPIRES_AT: "secret_expires_at",
}
FIELDS: Final = (
    "provider",
    "client_id",
    CLIENT_SECRET,
    "client_auth",
    "token_url",
    "issuer",
    RETURN_URLS,
    EXPIRES_AT,
)
_RETURN_URLS_MAX: Final = 100


class _Several(ValueError):
    """More than one thing is wrong with a value."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class ClientEntry(Struct):
    """The parsed fields of a client. A field that is not given is missing; None takes a value back."""

    name: str
    settings: dict[str, str | float | None] = field(default_factory=dict)
    secrets: dict[str, Secret | None] = field(default_factory=dict)


def read_client(row: Mapping[str, object]) -> ClientEntry:
    """Read a client.

    Args:
        row: field -> value. `return_urls` is a list, or text with commas between.

    Raises:
        RowRefused: with every problem of the row.
    """
    entry, problems = ClientEntry(""), []
    for name, value in row.items():
        try:
            _take(entry, name, None if value in (None, "", []) else value)
        except _Several as error:
            problems += [Problem(name, reason) for reason in error.reasons]
        except ValueError as error:
            problems.append(Problem(name[:60], str(error)))
    if not entry.name and not any(one.field == NAME for one in problems):
        problems.insert(0, Problem(NAME, "is missing"))
    if problems:
        raise RowRefused(problems)
    return entry


def _take(entry: ClientEntry, name: str, value: object) -> None:
    if name == NAME:
        entry.name = "" if value is None else client_name(value)
    elif name == CLIENT_SECRET:
        entry.secrets[name] = None if value is None else secret(value)
    elif name in COLUMNS:
        entry.settings[COLUMNS[name]] = _NONE.get(name) if value is None else _READERS[name](value)
    else:
        near = difflib.get_close_matches(name, [NAME, *FIELDS], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(FIELDS)}"
        raise ValueError(f"unknown field{hint}")


def _return_urls(value: object) -> str:
    given = json_of(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    if isinstance(given, str):
        given = given.split(",")
    if not isinstance(given, list):
        raise ValueError("expected a list of URLs")  # noqa: TRY004  (a wrong value in a row)
    urls = list(dict.fromkeys(plain_text(one) for one in given))
    if len(urls) > _RETURN_URLS_MAX:
        raise ValueError(f"holds {len(urls)} URLs; expected {_RETURN_URLS_MAX} at most")
    wrong = [
        f"{_place(one, nth)}: {reason}"
        for nth, one in enumerate(urls, 1)
        if (reason := problem_of_entry(one))
    ]
    if wrong:
        raise _Several(wrong)
    return write_urls(urls)


def _place(url: str, nth: int) -> str:
    """Return what an error calls a URL: itself, or its number where it may hold a password."""
    return f"URL {nth}" if "@" in url else shown(url)


def _end(value: object) -> float | None:
    at = moment(value)
    return at or None


_READERS: Final[dict[str, Callable[[object], str | float | None]]] = {
    "provider": provider_name,
    "client_id": plain_text,
    "client_auth": client_auth,
    "token_url": plain_text,
    "issuer": resource_url,
    RETURN_URLS: _return_urls,
    EXPIRES_AT: _end,
}
#: The value of a field that is taken back, where it is not None.
_NONE: Final = {RETURN_URLS: write_urls(())}


def shown_fields(changed: Iterable[str]) -> list[str]:
    """Return the names under which people know columns."""
    names = {column: name for name, column in COLUMNS.items()}
    return [names.get(one, one) for one in changed]
