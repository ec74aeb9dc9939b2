"""Labels: names and values by which people group accounts (`tenant=acme`). Their index is `models/tables/account_label.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from refreshd_reader.contract import ACCOUNT_ID

#: Labels of one account.
LABELS_MAX: Final = 16
#: The column `labels` of an account without any; no JSON parser reads or writes it.
NO_LABELS: Final = "{}"


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
