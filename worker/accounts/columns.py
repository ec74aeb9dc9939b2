"""The columns of an accounts file: our names for them, and webMethods' keys and labels (DESIGN section 1).

Names are compared without regard to case; our own may be written with spaces or hyphens for underscores.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import StrEnum
from functools import lru_cache
from typing import Final

from models.provider_requirements import needed
from models.providers import Provider
from refreshd_reader.contract import ACCOUNT_ID


class ColumnKind(StrEnum):
    """The kind of a column's value."""

    ID = "id"
    SETTING = "setting"
    SECRET = "secret"
    #: Describes the access token of the same row.
    OF_THE_TOKEN = "of_the_token"
    CUSTOM_FIELDS = "custom_fields"
    CUSTOM_FIELD = "custom_field"
    LABELS = "labels"
    LABEL = "label"
    KNOB = "knob"


@dataclass(frozen=True, slots=True)
class Column:
    """One column, by our name. webMethods' columns may differ in unit and in the meaning of empty."""

    kind: ColumnKind
    field: str
    in_minutes: bool = False
    #: The meaning of an empty value under webMethods' name; None: it is ignored.
    empty_means: str | None = None
    #: What the column says, by whichever of its names.
    says: str = dataclass_field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "says", f"{self.kind}.{self.field}")

    @property
    def name(self) -> str:
        """Our name of the column, as a row has it."""
        prefix = {ColumnKind.CUSTOM_FIELD: _CUSTOM_PREFIX, ColumnKind.LABEL: _LABEL_PREFIX}.get(self.kind, "")
        return f"{prefix}{self.field}"


SETTINGS: Final = (
    "provider",
    "client",
    "client_id",
    "client_auth",
    "token_url",
    "server_url",
    "refresh_enabled",
    "refresh_method",
    "callback",
    "session_management",
    "session_timeout_s",
)
#: What an account takes from the client that it names, and has no values of its own for.
OF_THE_CLIENT: Final = ("client_id", "client_auth")
SECRETS: Final = ("client_secret", "access_token", "refresh_token")
OF_THE_TOKEN: Final = ("token_type", "scope", "issued_at", "expires_in", "expires_at")
CUSTOM_FIELDS: Final = "custom_fields"
LABELS: Final = "labels"

_NOT_KNOBS: Final = {"name", "title", "sources", "verified", "notes", *SETTINGS}
KNOBS: Final = tuple(name for name in Provider.model_fields if name not in _NOT_KNOBS)

#: The name of a custom field, as templates refer to it (`models/providers/template.py`).
CUSTOM_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_MINUTES: Final = Column(ColumnKind.SETTING, "session_timeout_s", in_minutes=True)
#: webMethods refreshes only where this is set: an empty value means no, a missing column nothing.
_REFRESH: Final = Column(ColumnKind.SETTING, "refresh_enabled", empty_means="false")

_OURS: Final = {
    "id": Column(ColumnKind.ID, "id"),
    CUSTOM_FIELDS: Column(ColumnKind.CUSTOM_FIELDS, CUSTOM_FIELDS),
    LABELS: Column(ColumnKind.LABELS, LABELS),
    **{name: Column(ColumnKind.SETTING, name) for name in SETTINGS},
    **{name: Column(ColumnKind.SECRET, name) for name in SECRETS},
    **{name: Column(ColumnKind.OF_THE_TOKEN, name) for name in OF_THE_TOKEN},
    **{name: Column(ColumnKind.KNOB, name) for name in KNOBS},
}
#: Lower case; a unit in brackets behind a label is left out before the comparison.
_WEBMETHODS: Final = {
    "account": _OURS["id"],
    "connection": _OURS["id"],
    "consumer id": _OURS["client_id"],
    "oauth.consumerid": _OURS["client_id"],
    "consumer secret": _OURS["client_secret"],
    "oauth.consumersecret": _OURS["client_secret"],
    "access token": _OURS["access_token"],
    "oauth.accesstoken": _OURS["access_token"],
    "refresh token": _OURS["refresh_token"],
    "oauth_v20.refreshtoken": _OURS["refresh_token"],
    "refresh url": _OURS["token_url"],
    "oauth_v20.accesstokenrefreshurl": _OURS["token_url"],
    "server url": _OURS["server_url"],
    "cn.providerurl": _OURS["server_url"],
    "refresh access token": _REFRESH,
    "oauth_v20.refreshaccesstoken": _REFRESH,
    "refresh url request": _OURS["refresh_method"],
    "oauth_v20.accesstokenrefreshurlrequest": _OURS["refresh_method"],
    "refresh token callback service": _OURS["callback"],
    "custom esb service": _OURS["callback"],
    "oauth_v20.accesstokenrefreshcustomesbservice": _OURS["callback"],
    "session management": _OURS["session_management"],
    "cm.timeouttype": _OURS["session_management"],
    "session timeout": _MINUTES,
    "cm.sessionexpiry": _MINUTES,
}
_UNIT: Final = re.compile(r"\s*\(\s*min(?:ute)?s?\s*\)$")
_CUSTOM_PREFIX: Final = f"{CUSTOM_FIELDS}."
_LABEL_PREFIX: Final = f"{LABELS}."


@lru_cache(maxsize=4096)
def column_of(name: str) -> Column | None:
    """Return the column of this name, None where there is none."""
    words = " ".join(name.split())
    if words[: len(_CUSTOM_PREFIX)].casefold() == _CUSTOM_PREFIX:
        field = words[len(_CUSTOM_PREFIX) :]
        return Column(ColumnKind.CUSTOM_FIELD, field) if CUSTOM_NAME.fullmatch(field) else None
    if words[: len(_LABEL_PREFIX)].casefold() == _LABEL_PREFIX:
        label = words[len(_LABEL_PREFIX) :]
        return Column(ColumnKind.LABEL, label) if ACCOUNT_ID.fullmatch(label) else None
    lowered = words.casefold()
    found = _WEBMETHODS.get(_UNIT.sub("", lowered))
    return found or _OURS.get(re.sub(r"[ -]", "_", lowered))


def unknown_field(name: str) -> str:
    """Return the error for a name that no field has, with the closest that one has."""
    if name.casefold().startswith(_CUSTOM_PREFIX):
        return "a custom field's name is 1 to 64 letters, digits, '_', '.' or '-'"
    if name.casefold().startswith(_LABEL_PREFIX):
        return "a label's name is 1 to 128 letters, digits and ._:@-"
    named = {one: one for one in [*_OURS, *_WEBMETHODS]} | _custom_fields_of_presets()
    near = difflib.get_close_matches(re.sub(r"[ -]", "_", name.casefold()), named, n=1)
    if near:
        return f"unknown field; did you mean {named[near[0]]!r}?"
    return f"unknown field; further values for a provider go into {_CUSTOM_PREFIX}NAME"


def _custom_fields_of_presets() -> dict[str, str]:
    """Return the custom fields that presets need, by the name that stands in their templates.

    What one preset alone needs, such as a `secret`, is more likely a field of ours.
    """
    from models.providers.presets import load_presets  # YAML, which a row without errors has no use for

    presets = Counter(field for preset in load_presets().values() for field in needed(preset))
    return {
        field.removeprefix(_CUSTOM_PREFIX): field
        for field, number in presets.items()
        if field.startswith(_CUSTOM_PREFIX) and number > 1
    }
