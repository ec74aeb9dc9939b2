"""When tokens end, from the fields of an answer: whatever they are called, whatever they count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from models.providers.json_path import lookup_path
from models.providers.response_shape import LifetimeUnit, Paths, ResponseShape
from worker.providers.response.numbers import End, amount, point_in_time, read_end

#: Zoho's: seconds for certain, while `expires_in` beside it counts milliseconds.
_IN_SECONDS: Final = ("expires_in_sec", "expires_in_secs", "expires_in_seconds")
#: Other names of the same; read where the provider's data leaves the standard names as they are, and those say nothing.
#: `.expires`: ASP.NET's; `expires_on`: Azure AD v1's; `expiry_date`: Google's libraries'; `expire_in`: Shopee's;
#: `access_token_expire_in`: TikTok Shop's, a point in time; `expire_time`: Taobao's, milliseconds since the epoch.
_KIN: Final = (
    "expires",
    ".expires",
    "expires_on",
    "expiresIn",
    "expires-in",
    "expiresAt",
    "expiry",
    "expiry_date",
    "expire_in",
    "access_token_expire_in",
    "expire_time",
)
_STANDARD: Final = ResponseShape()
_NOTHING: Final = End()
#: A field that holds one of these says nothing; one that holds an object says something that can't be read.
_ABSENT: Final = (None, "")
_MILLISECOND_S: Final = 0.001


class Times(Struct, frozen=True):
    """When the tokens of an answer end, each as the first field says it that can be read."""

    access_token: End
    refresh_token: End
    #: The fields, name and value, that should hold a time and hold none that can be read.
    unread: Sequence[tuple[str, object]] = ()


def read_times(fields: Mapping[str, object], shape: ResponseShape, *, now: float) -> Times:
    """Return when the tokens of an answer end.

    Args:
        fields: the object that holds the tokens.
        shape: where its fields stand.
        now: epoch seconds.
    """
    ends, refresh_ends = list(_ends(fields, shape, now)), list(_refresh_ends(fields, shape, now))
    return Times(
        access_token=next((end for _, _, end in ends if end is not None), _NOTHING),
        refresh_token=next((end for _, _, end in refresh_ends if end is not None), _NOTHING),
        unread=[(name, value) for name, value, end in (*ends, *refresh_ends) if end is None],
    )


def _ends(
    fields: Mapping[str, object], shape: ResponseShape, now: float
) -> Iterator[tuple[str, object, End | None]]:
    """Return name, value and meaning of each field that is there, the one that counts first."""
    is_standard = shape.expires_in == _STANDARD.expires_in
    if is_standard and not fields.keys().isdisjoint(_IN_SECONDS):
        yield from _read(fields, _IN_SECONDS, now)
    unit_s = _MILLISECOND_S if shape.expires_in_unit is LifetimeUnit.MILLISECONDS else 1.0
    yield from _read(fields, shape.expires_in, now, unit_s)
    yield from _read_points(fields, shape.expires_at)
    if is_standard and shape.expires_at == _STANDARD.expires_at and not fields.keys().isdisjoint(_KIN):
        yield from _read(fields, _KIN, now)


def _refresh_ends(
    fields: Mapping[str, object], shape: ResponseShape, now: float
) -> Iterator[tuple[str, object, End | None]]:
    yield from _read(fields, shape.refresh_token_expires_in, now)
    yield from _read_points(fields, shape.refresh_token_expires_at)


def _read(
    fields: Mapping[str, object], paths: Paths, now: float, unit_s: float = 1.0
) -> Iterator[tuple[str, object, End | None]]:
    for path in paths:
        value = lookup_path(fields, path)
        if value not in _ABSENT:
            yield path, value, read_end(value, now=now, unit_s=unit_s)


def _read_points(fields: Mapping[str, object], paths: Paths) -> Iterator[tuple[str, object, End | None]]:
    """Read points in time; 0 and below is no time and no mistake: it means never."""
    for path in paths:
        value = lookup_path(fields, path)
        if value in _ABSENT:
            continue
        number = amount(value)
        if number is None or number > 0:
            at = point_in_time(value)
            yield path, value, None if at is None else End(at=at)
