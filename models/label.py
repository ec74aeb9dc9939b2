"""Labels: names and values by which people group accounts (`tenant=acme`), and the index of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from refreshd_reader.contract import ACCOUNT_ID

#: Labels of one account.
LABELS_MAX: Final = 16
#: The column `labels` of an account without any; no JSON parser reads or writes it.
NO_LABELS: Final = "{}"


class AccountLabel(SQLModel, table=True):
    """One row of `account_label`: the index by which accounts are found. `account.labels` has the same labels."""

    __tablename__ = "account_label"
    __table_args__ = (Index("ix_account_label", "name", "value", "account_id"),)

    account_id: str = Field(primary_key=True, max_length=128)
    name: str = Field(primary_key=True, max_length=128)
    value: str = Field(max_length=128)


def check_label(name: object, value: object) -> tuple[str, str]:
    """Return a label's name and value.

    Raises:
        ValueError: one of them is no text of an account id's characters; the message says which.
    """
    for what, text in (("name", name), ("value", value)):
        if not isinstance(text, str) or not ACCOUNT_ID.fullmatch(text):
            raise ValueError(f"a label's {what} is 1 to 128 letters, digits and ._:@-")
    return str(name), str(value)


def label_of(word: str) -> tuple[str, str]:
    """Return the label that a word NAME=VALUE names.

    Raises:
        ValueError: it is no label.
    """
    name, equals, value = word.partition("=")
    if not equals:
        raise ValueError("expected NAME=VALUE")
    return check_label(name.strip(), value.strip())


def read_labels(text: str) -> dict[str, str]:
    """Read the column `labels`."""
    if text == NO_LABELS:
        return {}
    labels: dict[str, str] = json.loads(text)
    return labels


def write_labels(labels: Mapping[str, str]) -> str:
    """Return the text of the column `labels`, names in order: equal labels are equal texts."""
    return _text(tuple(sorted(labels.items()))) if labels else NO_LABELS


#: Many accounts have the labels of one tenant.
@lru_cache(maxsize=1024)
def _text(labels: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(dict(labels))
