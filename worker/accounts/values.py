"""The values that each column accepts. A reader returns the value as it is stored, or raises a ValueError with what is expected.

A message never holds the value of a secret. Numbers and booleans may come as text, as CSV has nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx

from models.account_state import RefreshMethod, SessionManagement
from models.providers import ClientAuth
from models.token import Secret
from refreshd_reader.contract import ACCOUNT_ID
from worker.policy.due import LIFETIME_MAX_S
from worker.providers.response.numbers import amount, point_in_time

#: A value of a column of ours; None resets it to its default.
Value = str | bool | float | None

#: Longer than any token, certificate chain or client secret that is known.
TEXT_MAX: Final = 100_000
#: PostgreSQL's index of callbacks takes 2,704 bytes, and a character has four at most. No callback has a name over 64.
CALLBACK_MAX: Final = 500
_SHOWN: Final = 60

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
#: A PEM has line breaks; a NUL and half a character have no place in any text.
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
#: VSCHAR (RFC 6749 A.12, A.17) is what a token is made of.
_IN_NO_TOKEN: Final = re.compile(r"[^\x20-\x7e]")
_PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_LOOKS_LIKE_JSON: Final = re.compile(r"\s*(?:[\[{\"]|-?\d|true\b|false\b|null\b)")

#: Ours, and RFC 7591 section 2's names of what RFC 6749 section 2.3 describes.
_CLIENT_AUTH: Final = {
    **{word.value: word.value for word in ClientAuth},
    "client_secret_post": ClientAuth.BODY.value,
    "client_secret_basic": ClientAuth.BASIC.value,
    "tls_client_auth": ClientAuth.MTLS.value,
}
#: Ours, and webMethods' words for the ways to send the request.
_REFRESH_METHOD: Final = {
    **{word.value: word.value for word in RefreshMethod},
    "url query string": RefreshMethod.URL_QUERY.value,
    "body query string": RefreshMethod.BODY.value,
    "refresh token callback service": RefreshMethod.CALLBACK.value,
    "custom esb service": RefreshMethod.CALLBACK.value,
}
_SESSION_MANAGEMENT: Final = {word.value: word.value for word in SessionManagement}


def plain_text(value: object) -> str:
    """Read a text of one line, without the white space around it."""
    text = (value if isinstance(value, str) else _text(value)).strip()
    if not (text.isascii() and text.isprintable()) and _CONTROL.search(text):
        raise ValueError("holds a line break or another control character")
    if len(text) > TEXT_MAX:
        raise ValueError(f"is longer than {TEXT_MAX:,} characters")
    return text


def account_id(value: object) -> str:
    text = plain_text(value)
    if not ACCOUNT_ID.fullmatch(text):
        raise ValueError(f"{shown(text)}: expected 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -")
    return text


def client_name(value: object) -> str:
    text = plain_text(value)
    if not ACCOUNT_ID.fullmatch(text):
        raise ValueError(
            f"{shown(text)}: not a client's name; expected 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -"
        )
    return text


def label_value(value: object) -> str:
    text = plain_text(value)
    if not ACCOUNT_ID.fullmatch(text):
        raise ValueError(
            f"{shown(text)}: not a label's value; expected 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -"
        )
    return text


def provider_name(value: object) -> str:
    text = plain_text(value).lower()
    if not _PROVIDER.fullmatch(text):
        raise ValueError(
            f"{shown(text)}: not a provider name; expected up to 64 letters, digits, '.', '_' or '-'"
        )
    return text


def secret(value: object) -> Secret:
    """Read a secret, without white space that was copied with it."""
    return Secret(plain_text(value))


def token(value: object) -> Secret:
    """Read an access or refresh token. An error names a character that no token has by its position."""
    text = plain_text(value)
    strange = None if text.isascii() and text.isprintable() else _IN_NO_TOKEN.search(text)
    if strange:
        raise ValueError(
            f"character {strange.start() + 1} is U+{ord(strange[0]):04X}, not allowed in a token (RFC 6749, A.12): "
            "copy it again, as plain text"
        )
    return Secret(text)


def custom_value(value: object) -> Secret:
    """Read a custom field's value: any text, line breaks and space around it included."""
    text = ("true" if value else "false") if isinstance(value, bool) else _text(value)
    if _UNSTORABLE.search(text):
        raise ValueError("holds a NUL or half a character")
    if len(text) > TEXT_MAX:
        raise ValueError(f"is longer than {TEXT_MAX:,} characters")
    return Secret(text)


def callback_name(value: object) -> str:
    text = plain_text(value)
    if len(text) > CALLBACK_MAX:
        raise ValueError(f"is longer than {CALLBACK_MAX} characters")
    return text


def yes_or_no(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = plain_text(value).casefold()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f"{shown(text)}: expected true or false")


def client_auth(value: object) -> str:
    return _one_of(_CLIENT_AUTH, ClientAuth, value)


def refresh_method(value: object) -> str:
    return _one_of(_REFRESH_METHOD, RefreshMethod, value)


def session_management(value: object) -> str:
    return _one_of(_SESSION_MANAGEMENT, SessionManagement, value)


def timeout_s(value: object) -> float:
    """Read a session timeout, seconds."""
    seconds = amount(value)
    if seconds is None or not 0 < seconds <= LIFETIME_MAX_S:
        raise ValueError(f"{shown(value)}: expected a number of seconds above 0, 10 years at most")
    return seconds


def timeout_minutes(value: object) -> float:
    """Read webMethods' Session Timeout, minutes, and return seconds."""
    minutes = amount(value)
    if minutes is None or not 0 < minutes * 60 <= LIFETIME_MAX_S:
        raise ValueError(f"{shown(value)}: expected a number of minutes above 0, 10 years at most")
    return minutes * 60


def lifetime_s(value: object) -> float:
    """Read `expires_in`. 0 and less are accepted: providers write them for tokens without an expiry."""
    seconds = amount(value)
    if seconds is None:
        raise ValueError(f"{shown(value)}: expected a number of seconds")
    return seconds


def moment(value: object) -> float:
    """Read a point in time, epoch seconds."""
    at = point_in_time(value)
    if at is None:
        raise ValueError(
            f"{shown(value)}: expected epoch seconds (1790000000) or ISO 8601 (2026-09-21T14:13:20Z)"
        )
    return at


def resource_url(value: object) -> str:
    """Read the URL of a resource server or an issuer. What is a template is not looked at."""
    text = plain_text(value)
    try:
        url = httpx.URL(text)
        is_address = url.scheme in {"https", "http"} and bool(url.host)
        if "${" not in text:
            urlsplit(text).port  # noqa: B018  (raises for ports and brackets that httpx lets through)
    except (httpx.InvalidURL, ValueError):
        raise ValueError(f"{shown(text)}: not a valid URL") from None
    if "${" not in text and not is_address:
        raise ValueError(f"{shown(text)}: expected https://HOST...")
    return text


def resource_name(value: object) -> object:
    """Read the resource that tokens are asked for: a URL (RFC 8707), or a name of the provider's own."""
    is_url = isinstance(value, str) and value.strip().lower().startswith(("https://", "http://"))
    return resource_url(value) if is_url else value


def json_of(value: object) -> object:
    """Parse a text that looks like JSON (CSV has only text); return any other value as it is."""
    if isinstance(value, str) and _LOOKS_LIKE_JSON.match(value):
        try:
            return json.loads(value, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return value.strip()
    return value.strip() if isinstance(value, str) else value


def shown(value: object) -> str:
    """Return a value that is not secret, quoted and shortened, for an error."""
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def printable(text: str) -> str:
    """Return a text from a file with unprintable characters replaced, for terminals."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


SETTING_READERS: Final[dict[str, Callable[[object], Value]]] = {
    "provider": provider_name,
    "client": client_name,
    "client_id": plain_text,
    "client_auth": client_auth,
    "token_url": plain_text,
    "server_url": resource_url,
    "refresh_enabled": yes_or_no,
    "refresh_method": refresh_method,
    "callback": callback_name,
    "session_management": session_management,
    "session_timeout_s": timeout_s,
}
#: Of an account's overrides, those whose values are read before anything is made of them.
KNOB_READERS: Final[dict[str, Callable[[object], object]]] = {
    "issuer": resource_url,
    "resource": resource_name,
}
TOKEN_READERS: Final[dict[str, Callable[[object], str | float]]] = {
    "token_type": plain_text,
    "scope": plain_text,
    "issued_at": moment,
    "expires_in": lifetime_s,
    "expires_at": moment,
}


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        # 1.10 has already become 1.1: what was written is lost.
        raise ValueError("expected text: put the number in quotes")  # noqa: TRY004  (a wrong value, not a wrong call)
    raise ValueError(f"expected text, not {_KINDS.get(type(value), 'this')}")


_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def _one_of(words: Mapping[str, str], shown_words: Iterable[str], value: object) -> str:
    text = plain_text(value).casefold()
    found = words.get(text) or words.get(" ".join(text.split()))
    if found is None:
        raise ValueError(f"{shown(text)}: expected one of {', '.join(shown_words)}")
    return found
