"""From a response to an `Answer`: what it holds, not what it means. Never raises, whatever the bytes.

Persist first: where there is a usable access token, everything else that is odd is left out or mended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import unquote_plus

import httpx
from msgspec.structs import replace

from models.answer import Answer, BodyKind
from models.providers import Provider
from models.providers.response_shape import Paths, first_value
from models.refresh_request import RefreshRequest
from models.token import Secret, TokenResponse
from worker.providers.redaction import Redaction, plain_words
from worker.providers.response.body import Body, Finder, distinct, inner_objects, read_body
from worker.providers.response.numbers import http_date
from worker.providers.response.publishing import Publishable
from worker.providers.response.times import Times, read_times
from worker.providers.response.waits import asked_wait_s
from worker.providers.wire import WireResponse

_REQUEST_ID_HEADERS: Final = (
    "x-request-id", "request-id", "x-ms-request-id", "x-correlation-id", "correlation-id",
    "x-amzn-requestid", "x-trace-id", "cf-ray",
)  # fmt: skip
_REQUEST_ID_FIELDS: Final = ("trace_id", "correlation_id", "request_id", "requestId")
#: Where a failure holds its code if not where the provider's data says: HubSpot's `status`, Notion's `code`, Okta's
#: `errorCode`, a list of codes.
_KIN_OF_ERROR: Final = ("status", "code", "errorCode", "error_code", "errors.0")
#: A `status` of one of these says that there is an error, and the code is elsewhere (JSend).
_NO_CODES: Final = frozenset({"error", "fail", "failed", "failure"})
#: What a server writes where there is no error.
_NO_ERROR: Final[tuple[object, ...]] = (None, False, 0, "0", "false", "", [], {})
#: The rest of a form whose length was too small.
_GOES_ON: Final = re.compile(rb"[!-~]+\s*")
_NOT_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
#: What text columns and JSON can't hold: controls and lone surrogates.
_UNSTORABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
#: What stands in a secret's place where somebody hid it, or a part of it.
_MASKED: Final = re.compile(
    r"\*{3}|\.{3}|x{6}|[^\x21-\x7e]|\A[\[<({].*[\])}>]\Z|\A\W*(?:redacted|masked|hidden|filtered|removed|secret|null|none"
    r"|undefined)\W*\Z",
    re.IGNORECASE,
)
_WORDS_MAX: Final = 500
_CODE_MAX: Final = 100
_FIELD_MAX: Final = 4096
_TIME_MAX: Final = 40
#: Bodies whose members are what they say: a form or an object, or the whole members of a broken one.
_TELLING: Final = frozenset({BodyKind.JSON, BodyKind.FORM, BodyKind.UNREADABLE})


def read_answer(
    response: WireResponse,
    content: bytes,
    request: RefreshRequest,
    *,
    shown: str,
    now: float,
    surplus: bytes = b"",
) -> Answer:
    """Read a response.

    Args:
        response: its status and headers.
        content: its body.
        request: what was asked.
        shown: the request in words.
        now: epoch seconds, for points in time, and for a Retry-After that names a date and no Date beside it.
        surplus: what came behind the end that the response named: a length that is too small leaves the rest there.
    """
    headers = response.headers
    finder = partial(_access_token, request.provider.response.access_token)
    kind = headers.get("content-type", "")
    body = read_body(content, kind, finder)
    if surplus and not body.is_whole:
        whole = read_body(content + surplus, kind, finder)
        # A form shows no end: what goes on without a space belongs to its last value.
        if whole.is_whole or (body.kind is BodyKind.FORM and _GOES_ON.fullmatch(surplus)):
            body = whole
    fields, rivals = _holder(body, request, finder, success=response.is_success)
    access_token = _access_token_of(body, fields, request.provider, success=response.is_success)
    if access_token is not None:
        times = read_times(fields, request.provider.response, now=now)
        token = _token(access_token, fields, times, request)
        return Answer(
            status=response.status_code,
            token=token,
            body_kind=body.kind,
            fault_detail=_unread_times(times, request),
            provider_request_id=_request_id(
                headers, body, Redaction.of(request, token.access_token, token.refresh_token)
            ),
            request=shown,
        )
    failed = _failure(response, headers, body, request, shown=shown, now=now)
    lone = _lone_refresh_token(failed, body, rivals, request) if response.is_success else None
    if rivals:
        words = f"{len(rivals)} different access tokens stand in it, and none is taken"
        return replace(failed, error_description=words, fields={}, refresh_token=lone)
    return replace(failed, refresh_token=lone)


def _failure(
    response: WireResponse,
    headers: Mapping[str, str],
    body: Body,
    request: RefreshRequest,
    *,
    shown: str,
    now: float,
) -> Answer:
    status, shape = response.status_code, request.provider.response
    redaction = Redaction.of(request)
    code = _error_code(body, request)
    if code is None and not response.is_success:
        code = _kin_of_error(body.fields)
    error = as_words(code, _CODE_MAX, redaction)
    description = as_words(first_value(body.fields, shape.error_description), _WORDS_MAX, redaction)
    if description is None and error is None:
        description = _plain_refusal(body, status, request)
    if response.has_redirect_location:
        description = redaction.text(f"redirected to {_host(headers.get('location', ''), response)}")
    server_time = http_date(headers.get("date", ""))
    return Answer(
        status=status,
        error=error,
        error_description=description,
        error_uri=as_words(first_value(body.fields, shape.error_uri), _WORDS_MAX, redaction),
        body_kind=body.kind,
        fields=redaction.fields(body.fields),
        retry_after_s=asked_wait_s(
            status, headers, body.fields, now=now if server_time is None else server_time
        ),
        provider_request_id=_request_id(headers, body, redaction),
        request=shown,
        spent=error is None and (response.is_server_error or response.is_success),
    )


def _error_code(body: Body, request: RefreshRequest) -> object:
    """Return what stands where an error does; None where it says that there is none: `false`, `0`, an empty list."""
    found = first_value(body.fields, request.provider.response.error)
    return None if found in _NO_ERROR else found


def _plain_refusal(body: Body, status: int, request: RefreshRequest) -> str | None:
    """Return what a body says that is one text: `Invalid token`, `401 Invalid token`, `"invalid_grant"`."""
    if body.kind not in {BodyKind.TEXT, BodyKind.JSON} or not body.text:
        return None
    return plain_words(body.text.removeprefix(f"{status} "), request) or None


def _access_token(paths: Paths, fields: Mapping[str, object]) -> str | None:
    """Return the text of the access token that an object holds where the provider's data says."""
    token = as_secret(first_value(fields, paths))
    return None if token is None else token.reveal()


def _holder(
    body: Body, request: RefreshRequest, finder: Finder, *, success: bool
) -> tuple[Mapping[str, object], tuple[Mapping[str, object], ...]]:
    """Return the object that holds the tokens: the body, or the one inside it, where it is a success and names no error.

    Returns beside it those that hold different tokens to choose from, where that is more than one.
    """
    if body.rivals or finder(body.fields) is not None:
        return body.fields, body.rivals
    if not success or body.kind is not BodyKind.JSON or _error_code(body, request) is not None:
        return body.fields, ()
    holders = distinct(inner_objects(body.fields), finder)
    if len(holders) > 1:
        return body.fields, holders
    return next(iter(holders), body.fields), ()


def _lone_refresh_token(
    answer: Answer, body: Body, rivals: tuple[Mapping[str, object], ...], request: RefreshRequest
) -> Secret | None:
    """Return the new refresh token of a success that brought no usable access token, or several: the old one may be spent.

    It stands in the body or, where there is one alone and nobody hid it, in the objects inside or in the rivals.
    """
    if answer.error is not None or body.kind not in _TELLING:
        return None
    found = as_secret(first_value(body.fields, request.provider.response.refresh_token))
    if found is not None:
        return None if found == request.refresh_token else found
    inside = [
        token
        for one in rivals or inner_objects(body.fields)
        if (token := new_refresh_token(first_value(one, request.provider.response.refresh_token), request))
    ]
    return inside[0] if len(set(inside)) == 1 else None


def new_refresh_token(found: object, request: RefreshRequest) -> Secret | None:
    """Return the refresh token that stands in a place of no certain meaning, None unless it is a new one.

    What handles errors gives back what it was given, often with a mask over it: neither may take the place of the one that
    is stored.
    """
    token = as_secret(found) if isinstance(found, str) else None
    if token is None:
        return None
    text = token.reveal()
    sent = request.refresh_token.reveal().strip() if request.refresh_token else ""
    is_echo = text in sent or unquote_plus(text) == sent or is_masked(token)
    return None if is_echo else token


def is_masked(token: Secret) -> bool:
    """Return whether somebody hid a token, or a part of it."""
    return _MASKED.search(token.reveal()) is not None


def _kin_of_error(fields: Mapping[str, object]) -> object:
    """Return a word rather than a number, which mostly is the HTTP status once more."""
    found = [value for name in _KIN_OF_ERROR if (value := first_value(fields, (name,))) is not None]
    words = [value for value in found if isinstance(value, str) and not value.strip().isdigit()]
    codes = [word for word in words if word.strip().casefold() not in _NO_CODES]
    return next(iter(codes or words or found), None)


def _token(
    access_token: Secret, fields: Mapping[str, object], times: Times, request: RefreshRequest
) -> TokenResponse:
    """Return the tokens, and what is published beside them."""
    shape, named = request.provider.response, request.provider.publish_fields
    refresh_token = as_secret(first_value(fields, shape.refresh_token))
    open_to_readers = Publishable(request, access_token, refresh_token)
    return TokenResponse(
        access_token=access_token,
        refresh_token=refresh_token,
        token_type=open_to_readers.text(as_words(first_value(fields, shape.token_type), _CODE_MAX)),
        scope=open_to_readers.text(_scope(fields, shape.scope)),
        expires_in_s=times.access_token.in_s,
        expires_at=times.access_token.at,
        refresh_token_expires_in_s=times.refresh_token.in_s,
        refresh_token_expires_at=times.refresh_token.at,
        extra=as_texts(open_to_readers.fields(fields, named)) if named else {},
    )


def _access_token_of(
    body: Body, fields: Mapping[str, object], provider: Provider, *, success: bool
) -> Secret | None:
    shape = provider.response
    access_token = None if body.rivals else as_secret(first_value(fields, shape.access_token))
    if access_token is None and shape.whole_body_is_the_token and success:
        access_token = _plain_token(body)
    return access_token


def _unread_times(times: Times, request: RefreshRequest) -> str | None:
    """Return which times of an answer can't be read, for the history; None where all can."""
    if not times.unread:
        return None
    redaction = Redaction.of(request)
    return "; ".join(
        f"{name} can't be read as a time: {as_words(value, _TIME_MAX, redaction)!r}"
        for name, value in times.unread
    )


def as_secret(value: object) -> Secret | None:
    """Return a token: any text that is not blank and can be encoded, or a whole number.

    Blanks around it (a line's end, mostly) are none of it: they can't be sent in a header.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    token = value.strip() if isinstance(value, str) else ""
    if not token or (not token.isascii() and _SURROGATE.search(token)):
        return None
    return Secret(token)


def _plain_token(body: Body) -> Secret | None:
    token = body.text.strip()
    if body.kind not in {BodyKind.TEXT, BodyKind.JSON} or any(letter.isspace() for letter in token):
        return None
    return as_secret(token)


def _scope(fields: Mapping[str, object], paths: Paths) -> str | None:
    value = first_value(fields, paths)
    if isinstance(value, list):
        value = " ".join(item for item in value if isinstance(item, str))
    return as_words(value, _FIELD_MAX)


def as_texts(fields: Mapping[str, object]) -> dict[str, str]:
    """Return fields as texts that any store can hold, without those that hold nothing."""
    return {name: text for name, value in fields.items() if (text := as_words(value, _FIELD_MAX)) is not None}


def as_words(value: object, longest: int, redaction: Redaction | None = None) -> str | None:
    """Return a value as text that any store can hold, None for nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = value
    else:
        text = _as_json(value)
    if redaction is not None:  # before anything else is done to it: half a secret is not found any more
        text = redaction.text(text)
    return _UNSTORABLE.sub("\ufffd", text[:longest])


def _as_json(value: object) -> str:
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return ""


def _request_id(headers: Mapping[str, str], body: Body, redaction: Redaction) -> str | None:
    named = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None)
    if named is None:
        found = next((body.fields[name] for name in _REQUEST_ID_FIELDS if name in body.fields), None)
        named = found if isinstance(found, str) else None
    # Some servers take the id from what they were sent. Masked before it is cut: half a secret is not found any more.
    return _NOT_PRINTABLE.sub("", redaction.identifier(named))[:_CODE_MAX] if named else None


def _host(location: str, response: WireResponse) -> str:
    try:
        return httpx.URL(location).host or response.host
    except (httpx.InvalidURL, ValueError):
        return "an address that can't be read"
