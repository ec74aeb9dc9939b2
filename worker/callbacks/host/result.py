"""From what a callback returned to an `Answer`. Never raises, whatever it is.

An `errorResponse` wins over an access token beside it; a new refresh token beside it is kept. A usable access token
is stored even if something else is odd: what is left out stands in the notes, which the account's history keeps
beside the output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from math import inf
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from models.answer import Answer, BodyKind, Fault
from models.callback import ERROR_FIELDS, OUTPUT_FIELDS
from models.outcome import SAME_ACCESS_TOKEN
from models.providers.json_path import lookup_path
from models.refresh_request import RefreshRequest
from models.token import Secret, TokenResponse
from refreshd_reader.callback_output import LEFT_OUT
from worker.callbacks.host.output import OutputRedaction
from worker.providers.redaction import Redaction
from worker.providers.response.body import access_token, distinct, inner_objects, read_body
from worker.providers.response.numbers import End, point_in_time, read_end
from worker.providers.response.publishing import Publishable
from worker.providers.response.reading import as_secret, as_texts, as_words, is_masked, new_refresh_token

#: The error of an `errorResponse` that names none.
UNSPECIFIED: Final = "unspecified"
#: What a callback should have done.
EXPECTED: Final = "return a CallbackOutput, or a dict of the same names"
_SECRET_FIELDS: Final = ("access_token", "refresh_token")
#: An object with one of these is an output.
_OWN_FIELDS: Final = (*_SECRET_FIELDS, "errorResponse", "error")
_CODE_MAX: Final = 100
_WORDS_MAX: Final = 500
_FIELD_MAX: Final = 4096
#: Unknown fields that are named in a note.
_NAMED_MAX: Final = 5
_ANY_LENGTH: Final = 1_000_000
#: A number of a callback's is a point in time by its size alone: what it returned may have been read later than meant.
_NO_MOMENT: Final = inf


class Read(Struct, frozen=True):
    """What a callback returned, read: the answer, and what a person should know of how it was read."""

    answer: Answer
    notes: tuple[str, ...] = ()


def redaction_of(request: RefreshRequest, value: object = None) -> OutputRedaction:
    """Gather the secrets of one run: those that it was given, and those that it returned."""
    given = [request.access_token, request.refresh_token, request.client_secret]
    secrets = [secret.reveal() for secret in [*given, *request.custom_fields.values()] if secret]
    holders = [value, *inner_objects(value)] if isinstance(value, Mapping) else []
    for holder in holders:
        secrets += [found.strip() for name in _SECRET_FIELDS if isinstance(found := holder.get(name), str)]
    client_secret = request.client_secret.reveal() if request.client_secret else ""
    return OutputRedaction(secrets, pairs=[(request.client_id or "", client_secret)])


def token_of(fields: Mapping[str, object]) -> str | None:
    """Return what tells that an object holds tokens."""
    found = fields.get("refresh_token")
    return access_token(fields) or (found.strip() or None if isinstance(found, str) else None)


def unpacked(value: object) -> tuple[object, tuple[str, ...]]:
    """Return the object inside a value that is no output itself: in a text of JSON, a list, another object.

    Its refresh token may be the only one that works. Where there are several to choose from, the value stays as it is. Returns a
    note of it, too.
    """
    if isinstance(value, Mapping) and any(value.get(name) for name in _OWN_FIELDS):
        return value, ()
    document = (
        [read_body(value.encode(errors="replace"), "", token_of).fields] if isinstance(value, str) else value
    )
    holders = distinct(inner_objects([document]), token_of)
    if not holders and isinstance(document, list):
        holders = tuple(one for one in document if isinstance(one, Mapping) and one)
    if len(holders) != 1 or holders[0] is value:
        return value, ()
    return holders[0], (f"it returned {_kind(value)}, and what stands in it is read: {EXPECTED}",)


def read_value(value: object, request: RefreshRequest) -> Read:
    """Read what a callback returned."""
    if not isinstance(value, Mapping):
        return failed(
            f"it returned {_kind(value)}{' (is a `return` missing?)' if value is None else ''}: {EXPECTED}"
        )
    fields = {str(name): item for name, item in value.items()}
    redaction = redaction_of(request, fields)
    unknown = list(_unknown(fields, request))
    refused = _refusal(fields)
    if refused is not None:
        return _refused(refused, fields, request, redaction, unknown)
    token = as_secret(fields.get("access_token"))
    if token is None:
        if fields.get("error"):  # the provider's own body, passed on as it is (RFC 6749 section 5.2)
            own = {name: fields.get(name) for name in ERROR_FIELDS}
            return _refused(own, fields, request, redaction, [])
        return _without_token(fields, request, unknown)
    return Read(*_granted(token, fields, request, unknown))


def read_failure(failure: Answer, value: object, request: RefreshRequest) -> Read:
    """Read a failed run that gave something all the same: a new refresh token in it may be the only one that works.

    With a new access token beside it, it is read as a success; else the refresh token is kept alone.
    """
    fields = {str(name): item for name, item in value.items()} if isinstance(value, Mapping) else {}
    refresh_token = new_refresh_token(fields.get("refresh_token"), request)
    if refresh_token is None:
        return Read(failure)
    token = as_secret(fields.get("access_token"))
    if token is not None and token != request.access_token and not is_masked(token):
        read = read_value(fields, request)
        return Read(read.answer, (f"{failure.fault_detail}: its new tokens are kept", *read.notes))
    return Read(replace(failure, refresh_token=refresh_token), (_kept(refresh_token),))


def failed(words: str) -> Read:
    """Return that a callback gave nothing that can be used, and why."""
    return Read(Answer(fault=Fault.CALLBACK, fault_detail=words, spent=True))


def _without_token(fields: Mapping[str, object], request: RefreshRequest, unknown: list[str]) -> Read:
    """Return that there is no usable access token. A new refresh token beside it is kept: the old one may be spent."""
    read = failed(_why_no_token(fields, unknown))
    refresh_token = as_secret(fields.get("refresh_token"))
    if refresh_token is None or refresh_token == request.refresh_token:
        return read
    return Read(replace(read.answer, refresh_token=refresh_token), (_kept(refresh_token),))


def _kept(refresh_token: Secret) -> str:
    return f"its new refresh_token ({_size(refresh_token)}) is kept: the one before may be spent"


def _refusal(fields: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the error response, None where there is none; an empty one is none."""
    found = fields.get("errorResponse")
    if _is_left_out(found):  # its content is unknown; a token beside it is known
        return None
    if isinstance(found, Mapping):
        return found if any(value not in (None, "") for value in found.values()) else None
    return {"error": found} if found else None


def _refused(
    refused: Mapping[str, object],
    fields: Mapping[str, object],
    request: RefreshRequest,
    redaction: OutputRedaction,
    notes: list[str],
) -> Read:
    refresh_token = new_refresh_token(fields.get("refresh_token"), request)
    if refresh_token is not None:
        notes = [_kept(refresh_token), *notes]
    if as_secret(fields.get("access_token")) is not None:
        left = "nothing is stored" if refresh_token is None else "it is not stored"
        notes = [f"an errorResponse wins over the access_token beside it: {left}", *notes]
    names = [name for name in refused if name not in ERROR_FIELDS]
    if names:
        notes = [*notes, f"left out of errorResponse: {', '.join(map(repr, names[:_NAMED_MAX]))}"]
    known = {name: _words(refused.get(name), _WORDS_MAX, redaction) for name in ERROR_FIELDS}
    answer = Answer(
        error=(known["error"] or UNSPECIFIED)[:_CODE_MAX],
        error_description=known["error_description"],
        error_uri=known["error_uri"],
        body_kind=BodyKind.JSON,
        fields=Redaction.of(request, refresh_token).fields({**fields, **refused}),
        refresh_token=refresh_token,
    )
    return Read(answer, tuple(notes))


def _granted(
    token: Secret, fields: Mapping[str, object], request: RefreshRequest, unknown: list[str]
) -> tuple[Answer, tuple[str, ...]]:
    notes = list(unknown)

    def usable(name: str, found: object, expected: str) -> None:
        given = fields.get(name)
        if found is None and given not in (None, ""):
            notes.append(f"{name} is {_kind(given)}, {expected} is expected: it is left out")

    end = read_end(fields.get("expires_in"), now=_NO_MOMENT) or End()
    lifetime_s, refresh_token = end.in_s, as_secret(fields.get("refresh_token"))
    # A token that is taken for good for decades is never refreshed, and no log shows why.
    expires_at = end.at or point_in_time(lifetime_s)
    if expires_at is not None:
        notes.append(
            "expires_in is a point in time, a number of seconds is expected: it is read as that point"
        )
    token_type, scope = _text(fields.get("token_type"), _CODE_MAX), _scope(fields.get("scope"))
    if token == request.access_token:
        notes.append(f"{SAME_ACCESS_TOKEN}: it ends when it always would have, whatever expires_in says")
    usable("expires_in", lifetime_s if end.at is None else end.at, "a number of seconds")
    usable("refresh_token", refresh_token, "a text")
    usable("token_type", token_type, "a text")
    usable("scope", scope, "a text")
    usable("errorResponse", None, "an object")
    published: dict[str, str] = {}
    for name, path in request.provider.publish_fields.items():
        found = lookup_path(fields, path)
        if _is_left_out(found):
            notes.append(f"{path} is {_kind(found)}: it is not published")
        else:
            published[name] = path
    answer = TokenResponse(
        access_token=token,
        refresh_token=refresh_token,
        token_type=token_type,
        scope=scope,
        expires_in_s=lifetime_s if expires_at is None else None,
        expires_at=expires_at,
    )
    open_to_readers = Publishable(request, answer.access_token, answer.refresh_token)
    answer = replace(
        answer,
        token_type=open_to_readers.text(token_type),
        scope=open_to_readers.text(scope),
        extra=as_texts(open_to_readers.fields(fields, published)),
    )
    return Answer(token=answer, body_kind=BodyKind.JSON), tuple(notes)


def shown(answer: Answer, stored: Secret | None) -> str:
    """Return what was returned, without a secret. `stored` is the refresh token that the account has."""
    token = answer.token
    if token is None:
        return f"errorResponse: {answer.error}" if answer.error else "nothing that can be used"
    parts = [f"access_token ({_size(token.access_token)})"]
    if token.refresh_token is None:
        parts.append("no refresh_token (the stored one stays)")
    else:
        which = "the stored one" if token.refresh_token == stored else f"new, {_size(token.refresh_token)}"
        parts.append(f"refresh_token ({which})")
    if token.expires_in_s is not None:
        parts.append(f"expires_in {token.expires_in_s:.15g}")
    if token.expires_at is not None:
        parts.append(f"ends at {datetime.fromtimestamp(token.expires_at, UTC):%Y-%m-%d %H:%M:%S} UTC")
    parts += [
        f"{name} {text!r}"
        for name, text in (("scope", token.scope), ("token_type", token.token_type))
        if text
    ]
    parts += [f"{name} (published)" for name in token.extra]
    return ", ".join(parts)


def _unknown(fields: Mapping[str, object], request: RefreshRequest) -> Iterator[str]:
    published = {path.partition(".")[0] for path in request.provider.publish_fields.values()}
    if LEFT_OUT in fields:
        yield f"it returned {fields[LEFT_OUT]}: all but the fields of an output is left out"
    names = [name for name in fields if name not in {*OUTPUT_FIELDS, *published, LEFT_OUT}]
    for name in names[:_NAMED_MAX]:
        near = get_close_matches(name, OUTPUT_FIELDS, 1)
        yield f"{name!r} is no field of an output and is left out" + (
            f"; did you mean {near[0]!r}?" if near else ""
        )
    if len(names) > _NAMED_MAX:
        yield f"{len(names) - _NAMED_MAX} more unknown fields are left out"


def _why_no_token(fields: Mapping[str, object], unknown: list[str]) -> str:
    given = fields.get("access_token")
    if given is None:
        words = "it returned neither an access_token nor an errorResponse"
    elif isinstance(given, str) and not given.strip():
        words = "it returned an empty access_token and no errorResponse"
    else:
        words = f"access_token is {_kind(given)}, a text is expected"
    if _is_left_out(refused := fields.get("errorResponse")):
        words = f"{words}; errorResponse is {_kind(refused)}, an object is expected"
    return "; ".join([words, *unknown])


def _text(value: object, longest: int) -> str | None:
    return as_words(value, longest) if isinstance(value, str) else None


def _scope(value: object) -> str | None:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = " ".join(value)
    return _text(value, _FIELD_MAX)


def _words(value: object, longest: int, redaction: OutputRedaction) -> str | None:
    text = as_words(value, _ANY_LENGTH)
    return None if text is None else redaction.text(text)[:longest]


def _size(secret: Secret) -> str:
    return f"{len(secret.reveal()):,} characters, fingerprint {secret.fingerprint()}"


def _kind(value: object) -> str:
    """Name a value by its kind, as Python and JSON people know it; never by what it holds."""
    if value is None:
        return "None"
    if isinstance(value, dict) and _is_left_out(value):
        return f"a {value[LEFT_OUT]}"
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _is_left_out(value: object) -> bool:
    """Return whether a value stands for one that JSON could not hold."""
    return isinstance(value, Mapping) and list(value) == [LEFT_OUT] and isinstance(value[LEFT_OUT], str)


def parse(text: bytes | str) -> object:
    """Decode JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
