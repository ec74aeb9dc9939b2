"""The public names of the reader, and both halves with the same methods and parameters."""

from __future__ import annotations

import base64
import inspect
import re
import subprocess
import sys
from functools import partial

import pytest

import refreshd_reader
from refreshd_reader import (
    AsyncReader,
    AsyncTokenSource,
    NoUsableToken,
    Reader,
    ReaderError,
    TokenSource,
    UnusableUrl,
    errors,
)
from refreshd_reader.callback_task import CallbackTask
from refreshd_reader.httpx import AsyncTokenAuth, TokenAuth

NAMES = """
AccessToken AccountState Announcement AsyncReader AsyncTokenSource Disabled KeyMissing Keys Misconfigured NoUsableToken
Paused PayloadUnreadable Reader ReaderError Reauthorize RedisRefused RedisUnreachable RefreshUnderWay Rejection Token
TokenSource TokenTooShort UnknownAccount UnusableUrl WaitTimedOut
"""


def test_the_public_names() -> None:
    assert set(refreshd_reader.__all__) == set(NAMES.split())
    assert dir(refreshd_reader) == sorted(refreshd_reader.__all__)
    assert all(getattr(refreshd_reader, name).__name__ == name for name in refreshd_reader.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Writer'"):
        _ = refreshd_reader.Writer  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sync", "asynchronous"),
    [(Reader, AsyncReader), (TokenSource, AsyncTokenSource), (TokenAuth, AsyncTokenAuth)],
)
def test_both_halves_have_the_same_methods(sync: type, asynchronous: type) -> None:
    assert _methods(sync) == _methods(asynchronous)


def _methods(face: type) -> dict[str, list[tuple[str, object]]]:
    """Return each public method's parameters and defaults; what they are annotated with may differ."""
    return {
        name: [(p.name, p.default) for p in inspect.signature(member).parameters.values()]
        for name, member in inspect.getmembers(face, callable)
        if not name.startswith("_") or name in {"__init__", "__call__"}
    }


def test_the_tree_of_errors_is_drawn_on_top_of_its_file() -> None:
    drawn = {line.split("── ")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "── " in line}
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, ReaderError)
    }
    assert drawn | {"ReaderError"} == defined
    assert issubclass(refreshd_reader.PayloadUnreadable, NoUsableToken)


@pytest.mark.e2e
def test_reading_needs_neither_httpx_nor_requests() -> None:
    code = (
        "import sys; from refreshd_reader import AsyncReader, Reader;"
        "print({'httpx', 'requests'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://u:hush@h/0?foo=1", "unknown option 'foo' in the Redis URL"),
        ("redis://u:hush@h/0?db=x", "invalid value of the option 'db' in the Redis URL"),
        ("rediss://u:hush@h/0?ssl_cert_reqs=sometimes", "invalid options in the Redis URL"),
        ("redis://u:hu/sh@h/0", "not a Redis URL; expected redis://"),
        ("redis://u:1?hu=sh@h/0", "not a Redis URL; expected redis://"),
        ("http://h", "not a Redis URL; expected redis://"),
    ],
)
def test_an_unusable_url_is_refused_without_showing_its_password(url: str, message: str) -> None:
    for made in (
        Reader.from_url,
        AsyncReader.from_url,
        partial(CallbackTask.from_url, secret=base64.b64encode(bytes(32)).decode()),
    ):
        with pytest.raises(UnusableUrl, match=message) as refused:
            made(url)
        assert not re.search("hu|sh@", str(refused.value))
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__
