"""Lifetimes and points in time, in every shape that providers write them."""

from __future__ import annotations

import pytest

from tests.support.providers.provider_double import NOW, read, token_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600), (3599.5, 3599.5), ("3600", 3600), (" 3600 ", 3600), ("3600.0", 3600), ("1e3", 1000), (0, 0), ("0", 0),
        (-1, -1), (10**12, 1e12), ("1" + "0" * 12, 1e12), (None, None), ("", None), (True, None), (False, None),
        ("soon", None), ([3600], None), ({"s": 1}, None), ("NaN", None), ("inf", None), ("1_000", None), ("-", None),
        (10**400, None), ("٣٦٠٠", None),
    ],
)  # fmt: skip
async def test_expires_in_is_read_from_whatever_it_is(value: object, seconds: float | None) -> None:
    """What is no number is as good as nothing; the session policy says what nothing means."""
    answer = await read({"access_token": "AT-2", "expires_in": value})
    assert token_of(answer).expires_in_s == seconds


@pytest.mark.parametrize(
    "literal", [b"NaN", b"Infinity", b"-Infinity", b"1" * 5000, b"1e999", b"-1" + b"0" * 400]
)
async def test_numbers_that_are_none_cost_no_token(literal: bytes) -> None:
    answer = await read(b'{"access_token": "AT-2", "expires_in": ' + literal + b"}")
    assert token_of(answer).expires_in_s is None


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("2027-01-15T09:00:00Z", NOW + 3600), ("2027-01-15T09:00:00", NOW + 3600), ("2027-01-15 10:00:00+01:00", NOW + 3600),
        ("2027-01-15T09:00:00.000Z", NOW + 3600), ("Fri, 15 Jan 2027 09:00:00 GMT", NOW + 3600),
        (NOW + 3600, NOW + 3600), (str(int(NOW)), NOW), ((NOW + 3600) * 1000, NOW + 3600), (str(int(NOW * 1000)), NOW),
        (3600, None), (0, None), (-5, None), ("tomorrow", None), ("9999-99-99", None), (True, None), (1e300, None),
        ("0001-01-01T00:00:00", None), ("0001-01-01T00:00:00+14:00", None),
    ],
)  # fmt: skip
async def test_an_expiry_can_be_a_point_in_time(value: object, at: float | None) -> None:
    """ISO 8601, epoch seconds, epoch milliseconds, HTTP dates; a time without a zone is UTC."""
    answer = await read({"access_token": "AT-2", "expires_at": value})
    assert token_of(answer).expires_at == at


async def test_a_lifetime_comes_before_a_point_in_time() -> None:
    token = token_of(await read({"access_token": "A", "expires_in": 60, "expires_at": NOW + 99}))
    assert (token.expires_in_s, token.expires_at) == (60, None)


async def test_a_lifetime_can_be_in_milliseconds() -> None:
    answer = await read(
        {"access_token": "A", "expires_in": 3_600_000}, knobs={"response": {"expires_in_unit": "ms"}}
    )
    assert token_of(answer).expires_in_s == 3600


@pytest.mark.parametrize(
    ("field", "value", "in_s", "at"),
    [
        ("refresh_token_expires_in", 60, 60, None),
        ("refresh_expires_in", "60", 60, None),
        ("x_refresh_token_expires_in", 60.0, 60, None),
        ("refresh_token_expires_at", "2027-01-15T09:00:00Z", None, NOW + 3600),
        ("refresh_token_expires_at", "never", None, None),
    ],
)
async def test_a_refresh_tokens_end_is_read(
    field: str, value: object, in_s: float | None, at: float | None
) -> None:
    token = token_of(await read({"access_token": "A", field: value}))
    assert (token.refresh_token_expires_in_s, token.refresh_token_expires_at) == (in_s, at)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "Fri, 15 Jan 2027 08:02:00 GMT"}, 120),
        ({"retry-after": "Fri, 15 Jan 2027 08:02:00 GMT", "date": "Fri, 15 Jan 2027 08:01:00 GMT"}, 60),
        ({"retry-after": "Thu, 14 Jan 2027 08:00:00 GMT"}, 0),
        ({"retry-after": "yesterday"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "Fri, 99 Foo 2027 99:99:99"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    """RFC 9110 section 10.2.3; a date counts from the server's own Date, where it sends one."""
    assert (await read(b"", status=429, headers=headers)).retry_after_s == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h30m", 5400), ("1h0m0s", 3600), ("1 hour 30 minutes", 5400), ("1 day, 2 hours and 5 minutes", 93900),
        ("1h5x", None), ("5 minutes ago", None),
    ],
)  # fmt: skip
async def test_a_lifetime_can_have_several_units(text: str, seconds: float | None) -> None:
    assert token_of(await read({"access_token": "A", "expires_in": text})).expires_in_s == seconds


@pytest.mark.parametrize("value", [{"seconds": 3600}, [3600], "soon", True])
async def test_a_time_that_cannot_be_read_is_noted_whatever_it_is(value: object) -> None:
    answer = await read({"access_token": "A", "expires_in": value})
    assert (answer.fault_detail or "").startswith("expires_in can't be read as a time")


@pytest.mark.parametrize(
    ("field", "value", "in_s", "at"),
    [
        ("expires_in_sec", 3600, 3600, None),
        ("expire_in", 14400, 14400, None),
        ("access_token_expire_in", NOW + 3600, None, NOW + 3600),
        ("expire_time", (NOW + 3600) * 1000, None, NOW + 3600),
    ],
)
async def test_an_end_is_read_under_the_names_that_providers_give_it(
    field: str, value: float, in_s: float | None, at: float | None
) -> None:
    token = token_of(await read({"access_token": "A", field: value}))
    assert (token.expires_in_s, token.expires_at) == (in_s, at)
