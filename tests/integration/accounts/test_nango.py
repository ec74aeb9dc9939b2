"""Connections of Nango become accounts; what has no place here is named, not dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.providers import Provider
from tests.integration.accounts.conftest import Refreshd
from worker.accounts.formats.nango import NangoRows, snake_case
from worker.accounts.formats.row import Raw


def connection(provider: str = "google-mail", **changes: Any) -> dict[str, Any]:
    """Return a connection as `GET /connections/{id}` answers it."""
    found: dict[str, Any] = {
        "id": 18393,
        "connection_id": "user-1",
        "provider_config_key": f"{provider}-prod",
        "provider": provider,
        "errors": [],
        "end_user": {"id": "u1", "email": None},
        "metadata": {"plan": "pro"},
        "connection_config": {},
        "tags": {},
        "created_at": "2026-03-08T09:43:03.725Z",
        "credentials": {
            "type": "OAUTH2",
            "access_token": "access-text",
            "refresh_token": "refresh-text",
            "expires_at": "2026-11-24T04:00:00.000Z",
            "raw": {
                "access_token": "access-text",
                "refresh_token": "refresh-text",
                "expires_in": 3599,
                "token_type": "Bearer",
                "scope": "read",
                "id_token": "eyJ",
            },
        },
    }
    return {**found, **changes}


def integration(provider: str = "google-mail") -> dict[str, Any]:
    """Return an integration as `GET /integrations/{key}?include=credentials` answers it."""
    credentials = {
        "type": "OAUTH2",
        "client_id": "the-client",
        "client_secret": "its-secret",
        "scopes": "read,write",
    }
    return {
        "data": {
            "unique_key": f"{provider}-prod",
            "provider": provider,
            "credentials": credentials,
            "logo": "x",
        }
    }


def translated(presets: dict[str, Provider], *objects: dict[str, Any]) -> list[Raw]:
    rows = [Raw(line, one) for line, one in enumerate(objects, start=1)]
    return list(NangoRows(presets).translate(rows))


def test_a_connection_is_a_row_and_its_integration_brings_the_client(presets: dict[str, Provider]) -> None:
    (raw,) = translated(presets, integration(), connection())
    assert raw.row == {
        "id": "user-1",
        "provider": "google-mail",
        "client_id": "the-client",
        "client_secret": "its-secret",
        "access_token": "access-text",
        "refresh_token": "refresh-text",
        "expires_at": "2026-11-24T04:00:00.000Z",
        "expires_in": 3599,
        "token_type": "Bearer",
        "scope": "read",
    }
    assert raw.left_out == ("credentials.raw.id_token", "id", "end_user", "metadata", "created_at")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("subdomain", "subdomain"),
        ("serverUrl", "server_url"),
        ("instanceUrl", "instance_url"),
        ("baseUrl", "base_url"),
        ("accounts-server", "accounts_server"),
        ("instance_url", "instance_url"),
        ("realmId", "realm_id"),
        ("projectID", "project_id"),
        ("APIKey", "api_key"),
        ("account.id", "account_id"),
        ("OAuth2", "o_auth2"),
    ],
)
def test_names_of_the_configuration_become_custom_fields(name: str, field: str) -> None:
    assert snake_case(name) == field


def test_the_configuration_is_kept_as_custom_fields_and_overrides_the_client(
    presets: dict[str, Provider],
) -> None:
    config = {
        "subdomain": "acme",
        "isSandbox": False,
        "empty": "",
        "oauth_client_id_override": "own-client",
        "oauth_client_secret_override": "own-secret",
        "oauth_scopes": ["read", "write"],
        "nested": {"a": 1},
        "sub-domain": "x",
        "subDomain": "y",
    }
    (raw,) = translated(presets, integration("zendesk"), connection("zendesk", connection_config=config))
    assert raw.row is not None
    assert raw.row["custom_fields"] == {"subdomain": "acme", "is_sandbox": False, "sub_domain": "x"}
    assert raw.row["client_id"] == "own-client"
    assert raw.row["client_secret"] == "own-secret"
    assert raw.row["scope"] == "read write"
    assert {"connection_config.nested", "connection_config.subDomain"} <= set(raw.left_out)


@pytest.mark.parametrize(
    ("provider", "config", "fields"),
    [
        (
            "zoho-crm",
            {"accounts-server": "accounts.zoho.eu"},
            {"accounts_server": "https://accounts.zoho.eu"},
        ),
        (
            "zoho-crm",
            {"accounts-server": "https://accounts.zoho.eu"},
            {"accounts_server": "https://accounts.zoho.eu"},
        ),
        ("acumatica", {"instanceUrl": "acme.example/site"}, {"instance_url": "https://acme.example/site"}),
        ("zendesk", {"subdomain": "acme"}, {"subdomain": "acme"}),
        ("nobody-knows", {"serverUrl": "acme.example"}, {"server_url": "acme.example"}),
    ],
)
def test_where_a_url_is_expected_it_begins_with_https(
    presets: dict[str, Provider], provider: str, config: dict[str, str], fields: dict[str, str]
) -> None:
    (raw,) = translated(presets, connection(provider, connection_config=config))
    assert raw.row is not None
    assert raw.row["custom_fields"] == fields


def test_client_credentials_have_their_own_client(presets: dict[str, Provider]) -> None:
    credentials = {
        "type": "OAUTH2_CC",
        "token": "access-text",
        "client_id": "c",
        "client_secret": "s",
        "expires_at": "2026-11-24T04:00:00Z",
        "client_certificate": "PEM",
        "raw": {},
    }
    (raw,) = translated(presets, connection("zoom-cc", credentials=credentials))
    assert raw.row is not None
    assert raw.row["access_token"] == "access-text"
    assert (raw.row["client_id"], raw.row["client_secret"]) == ("c", "s")
    assert "credentials.client_certificate" in raw.left_out


@pytest.mark.parametrize("kind", ["API_KEY", "BASIC", "OAUTH1", "APP"])
def test_credentials_that_nobody_refreshes_are_an_error_of_their_row(
    presets: dict[str, Provider], kind: str
) -> None:
    (raw,) = translated(presets, connection(credentials={"type": kind, "apiKey": "k"}))
    assert raw.row is None
    assert raw.reason == f"credentials of type {kind} are not refreshed (OAUTH2 and OAUTH2_CC are)"


def test_other_rows_pass_as_they_are(presets: dict[str, Provider]) -> None:
    rows = [Raw(1, {"id": "a"}), Raw(2, None, "broken"), Raw(3, {"data": "x"}), Raw(4, {"provider": "p"})]
    assert list(NangoRows(presets).translate(rows)) == rows


def test_an_export_is_imported_and_what_was_left_out_is_said(
    refreshd: Refreshd, file: Callable[..., Path]
) -> None:
    path = file(
        integration(),
        connection(),
        connection(
            connection_id="user-2", metadata={}, credentials={"type": "OAUTH2", "refresh_token": "refresh-2"}
        ),
        connection("unknown-to-us", connection_id="user-3"),
        connection(connection_id="user-4", credentials={"type": "API_KEY", "apiKey": "key-text"}),
    )

    ran = refreshd("accounts", "import", str(path), "--json")

    assert ran.exit_code == 1
    assert (ran.json["added"], ran.json["failed"]) == (2, 2)
    assert {"line": 2, "account": "user-1", "field": "metadata"} in ran.json["left_out"]
    assert [one["line"] for one in ran.json["errors"]] == [4, 5]
    assert "key-text" not in ran.stdout + ran.stderr
    shown = refreshd("accounts", "show", "user-1", "--json").json
    assert shown["provider"] == "google-mail"
    assert shown["client_id"] == "the-client"

    again = refreshd("accounts", "import", str(path))
    assert "0 added, 0 changed, 2 unchanged" in again.stdout
    assert "left out, because nothing here corresponds: " in again.stderr
    assert "metadata (2)" in again.stderr


def test_a_json_array_of_connections_is_read(refreshd: Refreshd, file: Callable[..., Path]) -> None:
    path = file(json.dumps([integration(), connection()]), name="nango.json")
    assert refreshd("accounts", "import", str(path), "--json").json["added"] == 1
