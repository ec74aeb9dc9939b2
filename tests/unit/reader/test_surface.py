"""What connectors rely on: the public names, and two faces that are alike in everything."""

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
def test_both_faces_are_alike(sync: type, asynchronous: type) -> None:
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
    ("url", "says"),
    [
        ("redis://u:hush@h/0?foo=1", "has an option 'foo' that redis-py does not know"),
        ("redis://u:hush@h/0?db=x", "has an option 'db' whose value can't be read"),
        ("rediss://u:hush@h/0?ssl_cert_reqs=sometimes", "has options that can't be read"),
        ("redis://u:hu/sh@h/0", "is no URL of a Redis"),
        ("redis://u:1?hu=sh@h/0", "is no URL of a Redis"),
        ("http://h", "is no URL of a Redis"),
    ],
)
def test_a_url_that_redis_py_would_fail_on_is_refused_and_its_password_not_shown(url: str, says: str) -> None:
    for made in (
        Reader.from_url,
        AsyncReader.from_url,
        partial(CallbackTask.from_url, secret=base64.b64encode(bytes(32)).decode()),
    ):
        with pytest.raises(UnusableUrl, match=says) as refused:
            made(url)
        assert not re.search("hu|sh@", str(refused.value))
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__
