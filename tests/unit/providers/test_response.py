"""What is read out of an answer: tokens in every shape, errors in every shape, and nothing that is secret."""

from __future__ import annotations

import gzip
import zlib

import httpx
import pytest

from models.answer import BodyKind
from tests.support.providers.provider_double import Wire, account, read, token_of


async def test_every_standard_field_is_read() -> None:
    """RFC 6749 section 5.1."""
    token = token_of(
        await read(
            {
                "access_token": "AT-2",
                "refresh_token": "RT-2",
                "token_type": "bearer",
                "expires_in": 3600,
                "scope": "a b",
            }
        )
    )
    assert token.access_token.reveal() == "AT-2"
    assert token.refresh_token is not None
    assert token.refresh_token.reveal() == "RT-2"
    assert (token.token_type, token.scope, token.expires_in_s) == ("bearer", "a b", 3600.0)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/x-www-form-urlencoded",
        "text/html",
        "text/plain; charset=nonsense",
        "?",
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b'{"access_token": "AT-2", "expires_in": 3600}',
        b'\xef\xbb\xbf {"access_token": "AT-2", "expires_in": "3600"}\n',
        '{"access_token": "AT-2", "expires_in": 3600}'.encode("utf-16"),
        b"access_token=AT-2&expires_in=3600&token_type=bearer",
        b"expires_in=3600&access_token=AT%2D2",
        b'[{"access_token": "AT-2", "expires_in": 3600}]',
    ],
)
async def test_json_and_forms_are_told_apart_by_themselves(body: bytes, content_type: str | None) -> None:
    answer = await read(body, headers={} if content_type is None else {"content-type": content_type})
    assert token_of(answer).access_token.reveal() == "AT-2"
    assert token_of(answer).expires_in_s == 3600


async def test_white_space_around_a_token_is_none_of_it() -> None:
    """No token begins or ends so (RFC 6749 A.12), and a header that holds a line's end can't be sent."""
    token = token_of(await read({"access_token": "AT-2\n", "refresh_token": " RT-2\r\n"}))
    assert token.access_token.reveal() == "AT-2"
    assert token.refresh_token is not None
    assert token.refresh_token.reveal() == "RT-2"


@pytest.mark.parametrize(
    ("scope", "read_as"), [("a b", "a b"), (["a", "b"], "a b"), (None, None), ("", None), ([1, "a"], "a")]
)
async def test_a_scope_can_be_a_list(scope: object, read_as: str | None) -> None:
    assert token_of(await read({"access_token": "A", "scope": scope})).scope == read_as


async def test_tokens_can_stand_deep_in_the_body() -> None:
    paths = {
        "access_token": "data.token.access_token",
        "refresh_token": ["data.none", "data.token.refresh"],
        "expires_in": "data.token.seconds",
    }
    body = {"data": {"token": {"access_token": "AT-2", "refresh": "RT-2", "seconds": 60}}}
    token = token_of(await read(body, knobs={"response": paths}))
    assert token.access_token.reveal() == "AT-2"
    assert token.refresh_token is not None
    assert token.refresh_token.reveal() == "RT-2"
    assert token.expires_in_s == 60


@pytest.mark.parametrize("body", [b"AT-2", b" AT-2\r\n", b'"AT-2"'])
async def test_the_whole_body_can_be_the_token(body: bytes) -> None:
    knobs = {"response": {"access_token": ""}}
    assert token_of(await read(body, knobs=knobs)).access_token.reveal() == "AT-2"


@pytest.mark.parametrize(
    ("body", "status"), [(b"no such user", 200), (b"AT-2", 401), (b"<html>AT-2</html>", 200), (b"", 200)]
)
async def test_not_every_text_is_a_token(body: bytes, status: int) -> None:
    assert (await read(body, status=status, knobs={"response": {"access_token": ""}})).token is None


async def test_fields_to_publish_are_kept_as_text() -> None:
    knobs = {
        "publish_fields": {"instance_url": "instance_url", "shop": "shop.id", "all": "shop", "none": "none"}
    }
    body = {"access_token": "A", "instance_url": "https://x.example.com", "shop": {"id": 7}}
    extra = token_of(await read(body, knobs=knobs)).extra
    assert extra == {"instance_url": "https://x.example.com", "shop": "7", "all": '{"id": 7}'}


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 429, 500, 503])
async def test_a_token_is_a_token_whatever_the_status(status: int) -> None:
    answer = await read({"access_token": "AT-2", "error": "invalid_grant"}, status=status)
    assert token_of(answer).access_token.reveal() == "AT-2"


@pytest.mark.parametrize("value", [None, "", "  ", 0.5, True, [], {}, ["x"], "\ud800"])
async def test_what_can_not_be_used_as_a_token_is_none(value: object) -> None:
    assert (await read({"access_token": value})).token is None


async def test_a_token_can_be_a_number() -> None:
    assert token_of(await read({"access_token": 12345})).access_token.reveal() == "12345"


@pytest.mark.parametrize(
    ("body", "access", "refresh"),
    [
        (b'{"access_token": "old", "access_token": "new"}', "new", None),
        (b'{"access_token": "AT", "access_token": null}', "AT", None),
        (b'{"access_token": "AT", "access_token": ""}', "AT", None),
        (b'{"access_token": "AT", "refresh_token": "RT", "refresh_token": null}', "AT", "RT"),
        (b"access_token=AT&access_token=&refresh_token=RT&refresh_token=", "AT", "RT"),
    ],
)
async def test_of_a_name_that_stands_twice_the_last_that_holds_something_counts(
    body: bytes, access: str, refresh: str | None
) -> None:
    token = token_of(await read(body))
    assert token.access_token.reveal() == access
    assert (token.refresh_token and token.refresh_token.reveal()) == refresh


async def test_a_token_of_a_megabyte_is_a_token() -> None:
    token = "t" * 1_000_000
    assert token_of(await read({"access_token": token})).access_token.reveal() == token


async def test_a_nul_byte_stays_in_a_token_and_leaves_every_text() -> None:
    """A token is what the provider says it is; texts go to columns that hold no NUL."""
    body = {"access_token": "A\0T", "token_type": "Bea\0rer", "scope": "a\0b\ud800"}
    token = token_of(await read(body))
    assert token.access_token.reveal() == "A\0T"
    assert token.token_type == "Bea\ufffdrer"
    assert token.scope == "a\ufffdb\ufffd"
    answer = await read({"error": "bad\0code", "error_description": "\x07\x1b[31m"}, status=400)
    assert (answer.error, answer.error_description) == ("bad\ufffdcode", "\ufffd\ufffd[31m")


async def test_control_characters_in_json_cost_no_token() -> None:
    assert (
        token_of(await read(b'{"access_token": "AT-2", "scope": "a\tb\x00"}')).access_token.reveal() == "AT-2"
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"access_token": "AT-2", "refresh_token": "RT-2", "expires_in": 36',
        b'{"access_token": "AT-2", "refresh_token": "RT-2", "junk": ' + b"[" * 100_000,
        b'{"access_token": "AT-2", "refresh_token": "RT-2", }',
        b'{"access_token": "AT-2", "refresh_token": "RT-2"} trailing',
    ],
)
async def test_broken_json_still_gives_the_tokens_that_stand_whole_in_it(body: bytes) -> None:
    token = token_of(await read(body))
    assert token.access_token.reveal() == "AT-2"
    assert token.refresh_token is not None
    assert token.refresh_token.reveal() == "RT-2"


async def test_a_token_that_was_cut_is_none() -> None:
    assert (await read(b'{"access_token": "AT-')).token is None


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b'{"access_token": "AT-2"}', mtime=0)),
        ("X-GZIP", gzip.compress(b'{"access_token": "AT-2"}', mtime=0)),
        ("deflate", zlib.compress(b'{"access_token": "AT-2"}')),
        ("deflate", zlib.compress(b'{"access_token": "AT-2"}')[2:-4]),
        ("identity", b'{"access_token": "AT-2"}'),
        ("br", b'{"access_token": "AT-2"}'),
        ("gzip", b'{"access_token": "AT-2"}'),
        ("gzip", gzip.compress(b'{"access_token": "AT-2"}', mtime=0)[:-6]),
    ],
)
async def test_bodies_are_unpacked(coding: str, packed: bytes) -> None:
    wire = Wire(
        lambda _: httpx.Response(200, stream=httpx.ByteStream(packed), headers={"content-encoding": coding})
    )
    assert token_of(await wire.call(account())).access_token.reveal() == "AT-2"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", BodyKind.NONE), (b"  \n", BodyKind.NONE), (b"{}", BodyKind.JSON), (b"[]", BodyKind.JSON), (b'"x"', BodyKind.JSON),
        (b"{", BodyKind.UNREADABLE), (b"error=x", BodyKind.FORM), (b"<!DOCTYPE html>", BodyKind.HTML), (b" <html>", BodyKind.HTML),
        (b"<?xml version='1.0'?><a/>", BodyKind.TEXT), (b"Service Unavailable", BodyKind.TEXT), (b"ab\x00\xff", BodyKind.UNREADABLE),
    ],
)  # fmt: skip
async def test_the_kind_of_a_body_is_told(body: bytes, kind: BodyKind) -> None:
    assert (await read(body)).body_kind is kind


@pytest.mark.parametrize(
    ("body", "error", "description"),
    [
        ({"error": "invalid_grant", "error_description": "gone"}, "invalid_grant", "gone"),
        (
            b"error=bad_refresh_token&error_description=The+token+is+bad",
            "bad_refresh_token",
            "The token is bad",
        ),
        ({"error": {"type": "OAuthException", "code": 190, "message": "expired"}}, "190", "expired"),
        ({"errors": [{"errorType": "invalid_grant", "message": "x"}]}, "invalid_grant", "x"),
        ({"status": "BAD_REFRESH_TOKEN", "message": "missing"}, "BAD_REFRESH_TOKEN", "missing"),
        ({"status": 400, "code": "validation_error", "message": "m"}, "validation_error", "m"),
        ({"status": "400", "code": "validation_error", "message": "m"}, "validation_error", "m"),
        ({"status": "error", "code": 17, "message": "m"}, "error", "m"),
        ({"status": 400, "message": "m"}, "400", "m"),
        ({"code": 17, "message": "m"}, "17", "m"),
        ([{"error": "invalid_grant", "error_description": "list"}], "invalid_grant", "list"),
        ({"ok": False, "error": "invalid_refresh_token"}, "invalid_refresh_token", None),
        ({"error": None, "error_description": ["a", 1]}, None, '["a", 1]'),
        (b"nothing to see", None, "nothing to see"),
    ],
)
async def test_errors_are_read_in_the_shapes_that_providers_use(
    body: object, error: str | None, description: str | None
) -> None:
    answer = await read(body, status=400)
    assert (answer.error, answer.error_description) == (error, description)


async def test_a_redirect_is_not_followed_and_its_target_is_named() -> None:
    wire = Wire(httpx.Response(302, headers={"location": "https://login.example.org/x?token=SECRET"}))
    answer = await wire.call(account())
    assert len(wire.asked) == 1
    assert answer.status == 302
    assert answer.error_description == "redirected to login.example.org"


async def test_the_providers_id_of_the_request_is_kept() -> None:
    assert (await read({}, headers={"X-Request-Id": "r-1"})).provider_request_id == "r-1"
    assert (await read({"trace_id": "t-1", "error": "x"}, status=400)).provider_request_id == "t-1"
    assert (await read({}, headers={"x-request-id": "\x07" + "x" * 999})).provider_request_id == "x" * 100


async def test_no_secret_that_a_provider_quotes_is_kept() -> None:
    quoted = {
        "error": "invalid_grant RT-1-secret",
        "error_description": "no token RT-1-secret for s3cret-1, password hunter22",
        "detail": {"sent": ["RT-1-secret"], "deep": {"access_token": "leak"}},
        "refresh_token": "leak",
    }
    answer = await read(quoted, status=400, refresh_token="RT-1-secret", custom={"password": "hunter22"})
    shown = f"{answer}"
    for secret in ("RT-1-secret", "s3cret-1", "hunter22", "leak"):
        assert secret not in shown
    assert answer.error_description == "no token [redacted] for [redacted], password [redacted]"


async def test_a_success_that_can_not_be_read_may_have_spent_the_refresh_token() -> None:
    assert (await read(b"garbage")).spent
    assert (await read(b"", status=502)).spent
    assert not (await read({"error": "invalid_grant"}, status=400)).spent
    assert not (await read({"access_token": "A"})).spent
