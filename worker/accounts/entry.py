"""One row of an accounts file, or one command's arguments: every value parsed, none compared with stored ones yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Final

from msgspec import Struct, field

from models.token import Secret, TokenResponse
from refreshd_reader.contract import ACCOUNT_ID
from worker.accounts.columns import CUSTOM_NAME, Column, ColumnKind, column_of, unknown_field
from worker.accounts.values import (
    KNOB_READERS,
    SETTING_READERS,
    TOKEN_READERS,
    Value,
    account_id,
    custom_value,
    json_of,
    label_value,
    secret,
    timeout_minutes,
    token,
)

#: The field of an error that concerns the row as a whole.
ROW: Final = "row"


class Problem(Struct, frozen=True):
    """An invalid field of a row, and the reason."""

    field: str
    reason: str
    #: An option of the command that stores it all the same; programs that send rows have none.
    option: str | None = None
    #: The reason's name for programs, where it has one.
    code: str | None = None

    @property
    def words(self) -> str:
        """Return the reason as a person at a command line reads it."""
        return self.reason if self.option is None else f"{self.reason}; {self.option} stores it all the same"

    def __str__(self) -> str:
        return f"{self.field}: {self.words}"


class RowRefused(Exception):
    """A row that can't be stored, with all of its problems."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class AccountEntry(Struct):
    """The parsed row, by our names. Fields that the row does not have, or leaves empty, are missing here.

    None resets a stored value to its default; only a command can do that.
    """

    id: str
    settings: dict[str, Value] = field(default_factory=dict)
    secrets: dict[str, Secret | None] = field(default_factory=dict)
    of_the_token: dict[str, str | float | None] = field(default_factory=dict)
    custom_fields: dict[str, Secret | None] = field(default_factory=dict)
    #: The row has all of the account's custom fields: others are removed.
    all_custom_fields: bool = False
    #: None takes a label away.
    labels: dict[str, str | None] = field(default_factory=dict)
    #: The row has all of the account's labels: others are removed.
    all_labels: bool = False
    knobs: dict[str, object] = field(default_factory=dict)
    #: The provider's token response, where the tokens come from it directly.
    granted: TokenResponse | None = None

    @property
    def access_token(self) -> Secret | None:
        return self.secrets.get("access_token")

    @property
    def refresh_token(self) -> Secret | None:
        return self.secrets.get("refresh_token")

    def seconds(self, name: str) -> float | None:
        """Return one of the token's times."""
        value = self.of_the_token.get(name)
        return value if isinstance(value, float) else None

    def text(self, name: str) -> str | None:
        """Return one of the token's texts."""
        value = self.of_the_token.get(name)
        return value if isinstance(value, str) else None


def read_entry(
    row: Mapping[str, object], *, cells: bool = False, empty_takes_back: bool = False
) -> AccountEntry:
    """Read a row.

    Args:
        row: column -> value, columns by any of their names.
        cells: every value is text, as in CSV and in a command: a knob that looks like JSON is JSON.
        empty_takes_back: an empty value resets the stored one, as in `edit ID scope=`. In a file it is ignored:
            many programs write empty columns for unknown values.

    Raises:
        RowRefused: with every problem of the row.
    """
    reading = _Reading(AccountEntry(""), cells, empty_takes_back)
    for name, value in row.items():
        reading.take(name, value)
    if not reading.entry.id and not any(problem.field == "id" for problem in reading.problems):
        reading.problems.insert(0, Problem("id", "is missing"))
    _check_times(reading.entry, reading.problems)
    if reading.problems:
        raise RowRefused(reading.problems)
    return reading.entry


def id_of(row: Mapping[str, object]) -> str | None:
    """Return a row's account id for an error, whatever else is wrong with the row."""
    for name, value in row.items():
        column = column_of(name)
        if column is not None and column.kind is ColumnKind.ID and isinstance(value, str | int):
            return str(value).strip()[:128] or None
    return None


class _Reading(Struct):
    entry: AccountEntry
    cells: bool
    empty_takes_back: bool
    problems: list[Problem] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, value: object) -> None:
        taker = _taker_of(name)
        if taker is None:
            if not _is_empty(value):
                self.problems.append(Problem(name[:60], unknown_field(name)))
            return
        column, store = taker
        if _is_empty(value):
            if column.empty_means is None:
                if not self.empty_takes_back or column.kind is ColumnKind.ID:
                    return
                value = None
            else:
                value = column.empty_means
        where = column.says
        if where in self._names:
            self.problems.append(
                Problem(column.field, f"is given twice, as {self._names[where]!r} and as {name!r}")
            )
            return
        self._names[where] = name
        try:
            if column.kind is _KNOB and self.cells:
                value = json_of(value)
            store(self.entry, value)
        except ValueError as error:
            self.problems.append(Problem(column.name, str(error)))


#: Writes a column's value into an entry; None takes it back.
_Store = Callable[[AccountEntry, object], None]
_KNOB: Final = ColumnKind.KNOB


@lru_cache(maxsize=4096)
def _taker_of(name: str) -> tuple[Column, _Store] | None:
    """Return the column of this name, and what stores its values: found once, for the many rows that have it."""
    column = column_of(name)
    return None if column is None else (column, _store_of(column))


def _store_of(column: Column) -> _Store:
    name = column.field
    match column.kind:
        case ColumnKind.ID:
            return _store_id
        case ColumnKind.SETTING:
            return partial(
                _store_setting, name, timeout_minutes if column.in_minutes else SETTING_READERS[name]
            )
        case ColumnKind.SECRET:
            return partial(_store_secret, name)
        case ColumnKind.OF_THE_TOKEN:
            return partial(_store_of_the_token, name, TOKEN_READERS[name])
        case ColumnKind.CUSTOM_FIELD:
            return partial(_store_custom_field, name)
        case ColumnKind.CUSTOM_FIELDS:
            return _store_custom_fields
        case ColumnKind.KNOB:
            return partial(_store_knob, name)
        case ColumnKind.LABEL:
            return partial(_store_label, name)
        case ColumnKind.LABELS:
            return _store_labels


def _store_id(entry: AccountEntry, value: object) -> None:
    entry.id = account_id(value)


def _store_setting(name: str, read: Callable[[object], Value], entry: AccountEntry, value: object) -> None:
    entry.settings[name] = None if value is None else read(value)


def _store_secret(name: str, entry: AccountEntry, value: object) -> None:
    if value is None and name != "client_secret":
        raise ValueError("a stored token is not deleted: disable the account, or remove it")
    read = secret if name == "client_secret" else token
    entry.secrets[name] = None if value is None else read(value)


def _store_of_the_token(
    name: str, read: Callable[[object], str | float | None], entry: AccountEntry, value: object
) -> None:
    entry.of_the_token[name] = None if value is None else read(value)


def _store_custom_field(name: str, entry: AccountEntry, value: object) -> None:
    entry.custom_fields[name] = None if value is None else custom_value(value)


def _store_custom_fields(entry: AccountEntry, value: object) -> None:
    entry.all_custom_fields = True
    # A column of its own (custom_fields.NAME) takes precedence, wherever in the row it is.
    entry.custom_fields = {**dict(_custom_fields(value)), **entry.custom_fields}


def _store_knob(name: str, entry: AccountEntry, value: object) -> None:
    read = KNOB_READERS.get(name)
    entry.knobs[name] = value if value is None or read is None else read(value)


def _store_label(name: str, entry: AccountEntry, value: object) -> None:
    entry.labels[name] = None if value is None else label_value(value)


def _store_labels(entry: AccountEntry, value: object) -> None:
    entry.all_labels = True
    entry.labels = {**dict(_labels(value)), **entry.labels}


def _custom_fields(value: object) -> Iterator[tuple[str, Secret]]:
    fields = {} if value is None else json_of(value)
    if not isinstance(fields, Mapping):
        raise ValueError("expected an object of names and values")  # noqa: TRY004  (a wrong value in a file)
    for name, inner in fields.items():
        if not isinstance(name, str) or not CUSTOM_NAME.fullmatch(name):
            raise ValueError("a name is 1 to 64 letters, digits, '_', '.' or '-'")
        if _is_empty(inner):
            continue
        try:
            yield name, custom_value(inner)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def _labels(value: object) -> Iterator[tuple[str, str]]:
    labels = {} if value is None else json_of(value)
    if not isinstance(labels, Mapping):
        raise ValueError("expected an object of names and values")  # noqa: TRY004  (a wrong value in a file)
    for name, inner in labels.items():
        if not isinstance(name, str) or not ACCOUNT_ID.fullmatch(name):
            raise ValueError("a label's name is 1 to 128 letters, digits and ._:@-")
        if _is_empty(inner):
            continue
        try:
            yield name, label_value(inner)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def _check_times(entry: AccountEntry, problems: list[Problem]) -> None:
    issued_at, expires_at = entry.seconds("issued_at"), entry.seconds("expires_at")
    if issued_at is not None and expires_at is not None and expires_at <= issued_at:
        problems.append(Problem("expires_at", "is not after issued_at"))


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
