"""Columns go by our names, and by webMethods' keys and labels (DESIGN section 1)."""

from __future__ import annotations

import pytest

from models.providers import Provider
from worker.accounts.columns import KNOBS, SETTINGS, ColumnKind, column_of, unknown_field


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Consumer ID", "client_id"),
        ("oauth.consumerId", "client_id"),
        ("Consumer Secret", "client_secret"),
        ("oauth.consumerSecret", "client_secret"),
        ("Access Token", "access_token"),
        ("oauth.accessToken", "access_token"),
        ("Refresh Token", "refresh_token"),
        ("oauth_v20.refreshToken", "refresh_token"),
        ("Refresh URL", "token_url"),
        ("oauth_v20.accessTokenRefreshURL", "token_url"),
        ("Server URL", "server_url"),
        ("cn.providerUrl", "server_url"),
        ("cn.providerURL", "server_url"),
        ("Refresh Access Token", "refresh_enabled"),
        ("oauth_v20.refreshAccessToken", "refresh_enabled"),
        ("Refresh URL Request", "refresh_method"),
        ("oauth_v20.accessTokenRefreshURLRequest", "refresh_method"),
        ("Refresh token callback service", "callback"),
        ("Custom ESB Service", "callback"),
        ("oauth_v20.accessTokenRefreshCustomESBService", "callback"),
        ("Session Management", "session_management"),
        ("cm.timeoutType", "session_management"),
        ("Session Timeout", "session_timeout_s"),
        ("Session Timeout (min)", "session_timeout_s"),
        ("cm.sessionExpiry", "session_timeout_s"),
        ("  consumer   id ", "client_id"),
        ("CLIENT_ID", "client_id"),
        ("Client ID", "client_id"),
        ("token-url", "token_url"),
        ("Connection", "id"),
        ("margin_s", "margin_s"),
    ],
)
def test_every_name_leads_to_its_field(name: str, field: str) -> None:
    column = column_of(name)
    assert column is not None
    assert column.field == field


@pytest.mark.parametrize(("name", "minutes"), [("session_timeout_s", False), ("Session Timeout", True)])
def test_only_webmethods_session_timeout_is_in_minutes(name: str, minutes: bool) -> None:
    column = column_of(name)
    assert column is not None
    assert column.in_minutes is minutes


def test_a_custom_fields_name_keeps_its_case() -> None:
    column = column_of("Custom_Fields.TenantId")
    assert column is not None
    assert (column.kind, column.field) == (ColumnKind.CUSTOM_FIELD, "TenantId")


@pytest.mark.parametrize(
    "name", ["custom_fields.", "custom_fields.a b", "custom_fields.ä", "x", "", "session_timeout"]
)
def test_what_is_no_column_is_none(name: str) -> None:
    assert column_of(name) is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("refreshtoken", "refresh_token"),
        ("clientid", "client_id"),
        ("session_timeout", "session_timeout_s"),
        ("secret", "client_secret"),
        ("base_url", "custom_fields.base_url"),
        ("Base-URL", "custom_fields.base_url"),
        ("tenant_id", "custom_fields.tenant_id"),
    ],
)
def test_an_unknown_column_names_what_may_be_meant(name: str, near: str) -> None:
    assert f"did you mean {near!r}?" in unknown_field(name)


def test_every_knob_of_a_provider_that_is_no_identity_is_a_column() -> None:
    identity = {"name", "title", "sources", "verified", "notes"}
    assert set(KNOBS) | identity | set(SETTINGS) >= set(Provider.model_fields)
    assert not identity & set(KNOBS)
