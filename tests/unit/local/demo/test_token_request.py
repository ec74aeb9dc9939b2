"""Reading refresh requests: parameters wherever they travel, and each way to be a client."""

from __future__ import annotations

import base64
from urllib.parse import quote_plus, urlencode

import pytest

from worker.local.demo.provider.grants import RequestRefused
from worker.local.demo.provider.token_request import TokenRequest, read_token_request

#: With characters that RFC 6749 section 2.3.1 encodes before Basic, and some do not.
SECRET = "s:ecret 100%+ü"
CLIENTS = {
    "in-body": (SECRET, "body"),
    "by basic:": (SECRET, "basic"),
    "raw": (SECRET, "basic_raw"),
    "public": ("", "none"),
}
GOOD = {"grant_type": "refresh_token", "refresh_token": "rt"}


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def read(
    form: dict[str, str] | None = None, query: dict[str, str] | None = None, authorization: str | None = None
) -> TokenRequest:
    return read_token_request(
        query=urlencode(query or {}), body=urlencode(form or {}), authorization=authorization, clients=CLIENTS
    )


@pytest.mark.parametrize("place", ["form", "query"])
def test_parameters_travel_in_the_form_or_in_the_query(place: str) -> None:
    params = {**GOOD, "client_id": "in-body", "client_secret": SECRET, "scope": "a b"}
    request = read(form=params) if place == "form" else read(query=params)
    assert request == TokenRequest("in-body", "rt", "a b")


def test_they_may_be_shared_between_both() -> None:
    secrets = {"client_id": "in-body", "client_secret": SECRET}
    assert read(form=secrets, query=GOOD).client_id == "in-body"


@pytest.mark.parametrize(
    ("client_id", "authorization"),
    [
        ("by basic:", basic(quote_plus("by basic:"), quote_plus(SECRET))),
        ("raw", basic("raw", SECRET)),
    ],
)
def test_basic_has_two_readings(client_id: str, authorization: str) -> None:
    assert read(form=GOOD, authorization=authorization).client_id == client_id


def test_a_public_client_names_itself() -> None:
    assert read(form={**GOOD, "client_id": "public"}).client_id == "public"


@pytest.mark.parametrize(
    ("form", "authorization", "error", "status"),
    [
        (GOOD, None, "invalid_client", 401),
        ({**GOOD, "client_id": "nobody", "client_secret": "x"}, None, "invalid_client", 401),
        ({**GOOD, "client_id": "in-body", "client_secret": "wrong"}, None, "invalid_client", 401),
        ({**GOOD, "client_id": "in-body"}, None, "invalid_client", 401),
        ({**GOOD, "client_id": "public", "client_secret": "x"}, None, "invalid_client", 401),
        (GOOD, basic("in-body", SECRET), "invalid_client", 401),
        (GOOD, basic("raw", "wrong"), "invalid_client", 401),
        (GOOD, "Basic ???", "invalid_client", 401),
        (GOOD, "Bearer abc", "invalid_client", 401),
        ({**GOOD, "client_secret": SECRET}, basic("raw", SECRET), "invalid_request", 400),
        ({"refresh_token": "rt", "client_id": "public"}, None, "invalid_request", 400),
        ({"grant_type": "refresh_token", "client_id": "public"}, None, "invalid_request", 400),
        ({**GOOD, "refresh_token": "", "client_id": "public"}, None, "invalid_request", 400),
        ({**GOOD, "grant_type": "password", "client_id": "public"}, None, "unsupported_grant_type", 400),
    ],
)
def test_what_is_wrong_has_a_name(
    form: dict[str, str], authorization: str | None, error: str, status: int
) -> None:
    with pytest.raises(RequestRefused) as refused:
        read(form=form, authorization=authorization)
    assert (refused.value.error, refused.value.status) == (error, status)
    assert SECRET not in str(refused.value)


def test_a_parameter_that_comes_twice_is_refused() -> None:
    with pytest.raises(RequestRefused, match="more than once"):
        read(form={**GOOD, "client_id": "public"}, query={"refresh_token": "other"})
