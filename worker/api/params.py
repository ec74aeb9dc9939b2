"""What stands in paths, queries and headers of requests."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Final

from fastapi import Path, Request
from fastapi.routing import APIRoute

from models.label import check_label
from refreshd_reader.contract import ACCOUNT_ID
from worker.api.problems import FieldError, Problem, invalid

_ID: Final = f"^{ACCOUNT_ID.pattern}$"
#: A provider's or client's name, as a filter.
NAME_PATTERN: Final = r"^[!-~]{1,128}$"
_LABEL: Final = "label."
_CURSOR: Final = re.compile(r"[A-Za-z0-9_=-]{1,256}")

AccountId = Annotated[
    str, Path(alias="id", pattern=_ID, description="The account's id, case-sensitive.", examples=["acct-1"])
]
ClientName = Annotated[
    str, Path(alias="name", pattern=_ID, description="The client's name.", examples=["xero-production"])
]


def check_query(request: Request) -> None:
    """Let a query pass whose parameters its route knows; one with labels takes `label.NAME` as well.

    Raises:
        Problem: a parameter is unknown. Left out, a mistyped one would widen a list, or remove an account and leave its grant.
    """
    if not request.scope["query_string"]:
        return
    known, takes_labels, has_body = _parameters(request.scope["route"])
    if all(name in known or (takes_labels and name.startswith(_LABEL)) for name in request.query_params):
        return
    names = ", ".join([*sorted(known), *(["label.NAME"] if takes_labels else [])])
    hint = "; fields belong in the body" if has_body else ""
    raise invalid(FieldError("query", f"an unknown parameter; known: {names or 'none'}{hint}"))


def _parameters(route: APIRoute) -> tuple[frozenset[str], bool, bool]:
    """Return the parameters of a route's query, whether it takes labels, and whether it takes a body."""
    extra = route.openapi_extra or {}
    known = frozenset(field.alias for field in route.dependant.query_params)
    return known, "parameters" in extra, "requestBody" in extra


def labels_of(request: Request) -> dict[str, str]:
    """Return the labels of a query, `label.NAME=VALUE`.

    Raises:
        Problem: a label is none, or one has two values.
    """
    labels: dict[str, str] = {}
    errors: list[FieldError] = []
    for name, value in request.query_params.multi_items():
        if not name.startswith(_LABEL):
            continue
        try:
            label, text = check_label(name.removeprefix(_LABEL), value)
        except ValueError as error:
            errors.append(FieldError("label", str(error)))
            continue
        if labels.setdefault(label, text) != text:
            errors.append(FieldError("label", "one name with two values"))
    if errors:
        raise invalid(*errors)
    return labels


def write_cursor(last_id: str) -> str:
    """Return the cursor of a list that goes on behind this id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """Return the id behind which a list goes on.

    Raises:
        Problem: it is no cursor of ours.
    """
    wrong: Problem = invalid(FieldError("cursor", "not a cursor; expected `next_cursor` of the page before"))
    if not _CURSOR.fullmatch(cursor):
        raise wrong
    try:
        last = base64.urlsafe_b64decode(cursor.rstrip("=") + "=" * (-len(cursor.rstrip("=")) % 4)).decode()
    except (binascii.Error, ValueError):
        raise wrong from None
    if not ACCOUNT_ID.fullmatch(last):
        raise wrong
    return last
