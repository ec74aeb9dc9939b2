"""What connectors rely on: the public names, and two faces that are alike in everything."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import refreshd_reader
from refreshd_reader import (
    AsyncReader,
    AsyncTokenSource,
    NoUsableToken,
    Reader,
    ReaderError,
    TokenSource,
    errors,
)
from refreshd_reader.httpx import AsyncTokenAuth, TokenAuth

NAMES = """
AccessToken AccountState Announcement AsyncReader AsyncTokenSource Disabled KeyMissing Keys Misconfigured NoUsableToken
Paused PayloadUnreadable Reader ReaderError Reauthorize RedisRefused RedisUnreachable RefreshUnderWay Rejection Token
TokenSource TokenTooShort UnknownAccount WaitTimedOut
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
    """Give each public method's parameters and defaults; what they are annotated with may differ."""
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


def test_reading_needs_neither_httpx_nor_requests() -> None:
    code = (
        "import sys; from refreshd_reader import AsyncReader, Reader;"
        "print({'httpx', 'requests'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
