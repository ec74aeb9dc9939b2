"""Parts of the API without stores: limits, cursors, JSON, keys, settings, the environment of its process."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from models.tables.api_key import ApiKey, Credential, hash_of
from worker.api.bodies import parse_object
from worker.api.params import read_cursor, write_cursor
from worker.api.problems import Kind, Problem
from worker.api.rate_limits import RateLimits
from worker.crypto.cipher import generate_key
from worker.errors import SettingsError
from worker.local.api import api_environment, opens_something
from worker.settings import Settings
from worker.settings.api import ApiSettings, load_api_settings


def test_a_bucket_fills_again_at_its_rate() -> None:
    limits = RateLimits(2)
    assert [limits.take("a", 0.0).allowed for _ in range(21)] == [True] * 20 + [False]
    refused = limits.take("a", 0.0).headers
    assert refused == {
        "RateLimit-Policy": '"key";q=20;w=10',
        "RateLimit": '"key";r=0;t=10',
        "Retry-After": "1",
    }
    assert limits.take("b", 0.0).allowed
    assert [limits.take("a", 1.0).allowed for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("last", ["a", "acct-1", "A.b:c@d_e-f", "x" * 128])
def test_a_cursor_says_where_a_list_goes_on(last: str) -> None:
    assert read_cursor(write_cursor(last)) == last


@pytest.mark.parametrize(
    "cursor", ["", "\0", "a", "=", "ü", "x" * 300, base64.urlsafe_b64encode(b"a b").decode()]
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Problem) as refused:
        read_cursor(cursor)
    assert refused.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"1",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":1,"a":1}',
        b'{"a":"\\udc00"}',
        b"\xff",
    ],
)
def test_what_no_store_takes_is_not_read(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"not|twice"):
        parse_object(raw)


def test_a_credential_is_read_as_it_was_made() -> None:
    made = Credential.make()
    assert Credential.parse(made.to_text()) == made
    assert made.secret not in repr(made)
    key = ApiKey(id=made.id, name="n", secret_hash=hash_of(made.secret), scopes="[]", created_at=0)
    assert key.opens_with(made.secret)
    assert not key.opens_with(made.secret + "x")
    assert not key.opens_with("\u00fc")


def test_a_key_is_valid_until_its_end_or_revocation() -> None:
    key = ApiKey(id="1", name="n", secret_hash="", scopes="[]", created_at=0, expires_at=10.0)
    assert (key.is_valid(9.9), key.is_valid(10.0)) == (True, False)
    key.expires_at, key.revoked_at = None, 5.0
    assert not key.is_valid(9.9)


def test_the_api_is_where_it_listens_unless_a_url_is_set() -> None:
    assert ApiSettings(host="::1", port=80).base_url == "http://[::1]:80"
    assert ApiSettings(url="https://grants.example/base/").base_url == "https://grants.example/base"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "ftp://x"),
        ("URL", "https://user:mkpass@x"),
        ("PORT", "0"),
        ("TOKENS", "perhaps"),
        ("REQUESTS_PER_S", "0"),
    ],
)
def test_a_setting_that_would_not_do_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"REFRESHD_API_{name}", value)
    with pytest.raises(SettingsError, match=f"^REFRESHD_API_{name}: .*expected") as refused:
        load_api_settings()
    assert "mkpass" not in str(refused.value)


def test_every_setting_is_in_the_api_page_with_its_default() -> None:
    page = (Path(__file__).parents[3] / "docs/api.md").read_text()
    for name, field in ApiSettings.model_fields.items():
        default = "" if field.default is None else str(field.default).lower()
        assert f"| `REFRESHD_API_{name.upper()}` |" in page
        assert default in page


def test_an_api_process_gets_an_environment_that_opens_nothing(tmp_path: Path) -> None:
    key, publish = generate_key("k1"), generate_key("p1")
    settings = Settings(
        keys=SecretStr(key),
        publish_keys=SecretStr(publish),
        webhook_url=SecretStr("https://hooks.example/mkhook"),
        webhook_secret=SecretStr("whsec_" + base64.b64encode(b"x" * 32).decode()),
        data_dir=tmp_path,
    )
    assert opens_something(settings, ApiSettings())
    found = api_environment(settings, ApiSettings(), {"REFRESHD_KEYS": key, "PATH": os.defpath})
    secrets = (key.partition(":")[2], publish.partition(":")[2], "mkhook", "whsec_")
    assert not [one for one in secrets if one in repr(found)]
    assert found["REFRESHD_INTAKE_KEY"].startswith("k1:")
    assert found["REFRESHD_KEYS"] == found["REFRESHD_PUBLISH_KEYS"] == ""
    assert (found["REFRESHD_API_SEALED_TOKENS"], found["REFRESHD_API_WEBHOOKS"]) == ("true", "true")
    clean = Settings(intake_key=SecretStr(found["REFRESHD_INTAKE_KEY"]), data_dir=tmp_path)
    assert not opens_something(clean, ApiSettings())


def test_publish_keys_stay_where_tokens_are_given_out(tmp_path: Path) -> None:
    publish = generate_key("p1")
    settings = Settings(
        keys=SecretStr(generate_key("k1")), publish_keys=SecretStr(publish), data_dir=tmp_path
    )
    given = {"REFRESHD_PUBLISH_KEYS": publish}
    assert api_environment(settings, ApiSettings(tokens=True), given)["REFRESHD_PUBLISH_KEYS"] == publish
