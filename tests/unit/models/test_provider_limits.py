"""No knob publishes a secret, and none sets a header that frames a request."""

from __future__ import annotations

from typing import Any

import pytest

from models.providers import Provider


@pytest.mark.parametrize(
    "knobs",
    [
        {"publish_fields": ["refresh_token"]},
        {"publish_fields": {"more": "data.refresh_token"}},
        {"publish_fields": {"refresh_token": "more"}},
        {"publish_fields": ["RefreshToken"]},
        {"publish_fields": ["data.client_secret"]},
        {"response": {"access_token": ["refresh_token"]}},
        {"response": {"scope": "data.refresh_token"}},
        {"response": {"token_type": "client_secret"}},
    ],
)
def test_no_secret_is_published(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is a secret, which is never published"):
        Provider(name="acme").overridden(knobs)


def test_what_is_said_of_a_refresh_token_may_be_published() -> None:
    fields = ["refresh_token_expires_in", "instance_url", "id_token"]
    assert Provider(name="acme", publish_fields=fields).publish_fields == {one: one for one in fields}


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade", "Expect", "Keep-Alive",
     "Proxy-Authorization", "Proxy-Connection", "HTTP2-Settings"],
)  # fmt: skip
def test_no_header_that_frames_the_request_is_set(name: str) -> None:
    with pytest.raises(ValueError, match=f"headers.{name}: only the HTTP client sets it"):
        Provider(name="acme").overridden({"headers": {name: "x"}})


@pytest.mark.parametrize("name", ["", "Host ", "X:Y", "X\r\nHost", "X\tY", "\u212aost"])
def test_a_header_has_a_name_that_can_be_sent(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name of a header"):
        Provider(name="acme").overridden({"headers": {name: "x"}})


def test_other_headers_are_set() -> None:
    headers = {"X-Api-Key": "${custom.key}", "authorization": "x"}
    assert Provider(name="acme", headers=headers).headers == headers
