"""Connections of Nango, as its API returns them, read as rows of an accounts file. docs/migrating.md has the mapping.

`GET /connections/{id}` gives a connection with its credentials, `GET /integrations/{key}?include=credentials` the client
that a connection belongs to; an integration stands before the connections of its key. What has no place here is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct, field

from models.providers import Provider
from worker.accounts.columns import CUSTOM_FIELDS
from worker.accounts.formats.row import Raw

#: What is called otherwise here.
_PROVIDERS: Final = {
    "microsoft": "microsoft-entra",
    "one-drive": "microsoft-entra",
    "outlook": "microsoft-entra",
    "google-ads": "google",
    "google-calendar": "google",
    "google-docs": "google",
    "quickbooks-sandbox": "quickbooks",
    "stripe": "stripe-apps",
    "twitter": "x-twitter",
}
#: Credentials that can be refreshed; an API key, for one, can't.
_TYPES: Final = frozenset({"OAUTH2", "OAUTH2_CC"})
#: Of the connection's configuration: what an integration's client is overridden by.
_OVERRIDES: Final = {
    "oauth_client_id_override": "client_id",
    "oauth_client_secret_override": "client_secret",
    "oauth_scopes_override": "scope",
    "oauth_scopes": "scope",
}
_CREDENTIALS: Final = {
    "access_token": "access_token",
    "token": "access_token",  # of OAUTH2_CC
    "refresh_token": "refresh_token",
    "expires_at": "expires_at",
    "client_id": "client_id",
    "client_secret": "client_secret",
}
_CLIENT: Final = {"client_id": "client_id", "client_secret": "client_secret"}
#: Of the provider's own answer.
_RAW: Final = {"token_type": "token_type", "scope": "scope", "expires_in": "expires_in"}
#: Of the provider's own answer, what the credentials say as well.
_RAW_KNOWN: Final = frozenset({*_RAW, "access_token", "refresh_token", "expires_at"})
_READ: Final = frozenset(
    {"connection_id", "provider_config_key", "provider", "credentials", "connection_config"}
)

#: A word begins at a capital behind a small letter, and at the last of several capitals: realmId, APIKey.
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_]+")
#: A template that begins with a variable: its value is the beginning of a URL.
_ORIGIN: Final = re.compile(r"\$\{(?:account|custom)\.([A-Za-z0-9_.-]+)\}")


def is_connection(row: Mapping[str, object]) -> bool:
    """Return whether an object is one of Nango's connections."""
    return "connection_id" in row and "provider_config_key" in row


def snake_case(name: str) -> str:
    """Return a name of the connection's configuration as a custom field has it: serverUrl, accounts-server."""
    return _NOT_IN_A_NAME.sub("_", _WORD.sub("_", name)).strip("_").lower()


class NangoRows:
    """Reads objects that are Nango's as rows; others pass as they are."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers
        self._integrations: dict[str, dict[str, object]] = {}

    def translate(self, rows: Iterable[Raw]) -> Iterator[Raw]:
        """Return the rows; an integration makes none."""
        for raw in rows:
            row = _unwrapped(raw.row)
            if row is not None and is_connection(row):
                yield self._account(raw.line, row)
            elif row is not None and "unique_key" in row and "provider" in row:
                self._integrations[str(row["unique_key"])] = _client_of(row)
            else:
                yield raw

    def _account(self, line: int, connection: Mapping[str, object]) -> Raw:
        credentials = _members(connection.get("credentials"))
        kind = credentials.get("type", "OAUTH2")
        if kind not in _TYPES:
            return Raw(
                line,
                None,
                f"credentials of type {str(kind)[:40]} are not refreshed (OAUTH2 and OAUTH2_CC are)",
            )
        provider = str(connection.get("provider") or connection["provider_config_key"])
        account = _Account(
            {"id": connection["connection_id"], "provider": _PROVIDERS.get(provider, provider)}
        )
        account.take_all(credentials, _CREDENTIALS, "credentials", passed={"type", "raw", "config_override"})
        account.take_all(_members(credentials.get("config_override")), _CLIENT, "credentials.config_override")
        account.take_all(_members(credentials.get("raw")), _RAW, "credentials.raw", passed=_RAW_KNOWN)
        account.configure(_members(connection.get("connection_config")), self._origins(account.row))
        for name, value in self._integrations.get(str(connection["provider_config_key"]), {}).items():
            account.row.setdefault(name, value)
        account.left_out += [
            name for name, value in connection.items() if name not in _READ and not _is_empty(value)
        ]
        return Raw(line, account.row, left_out=tuple(account.left_out))

    def _origins(self, row: Mapping[str, object]) -> frozenset[str]:
        """Name the custom fields with which the provider's URLs begin."""
        provider = self._providers.get(str(row["provider"]))
        if provider is None:
            return frozenset()
        urls = [provider.token_url, provider.refresh_url]
        alternatives = [one for url in urls if url for one in url.split(" || ")]
        return frozenset(found[1] for one in alternatives if (found := _ORIGIN.match(one)))


class _Account(Struct):
    """A row in the making, and the names of what has no place in it."""

    row: dict[str, object]
    left_out: list[str] = field(default_factory=list)

    def take_all(
        self,
        fields: Mapping[str, object],
        names: Mapping[str, str],
        where: str,
        passed: Iterable[str] = (),
    ) -> None:
        """Take what has a column; what stands there already came from a better place."""
        for name, value in fields.items():
            if _is_empty(value):
                continue
            if name in names:
                self.row.setdefault(names[name], value)
            elif name not in passed:
                self.left_out.append(f"{where}.{name}")

    def configure(self, fields: Mapping[str, object], origins: frozenset[str]) -> None:
        """Take the connection's configuration: its values are custom fields."""
        custom: dict[str, object] = {}
        for name, value in fields.items():
            if _is_empty(value):
                continue
            if name in _OVERRIDES:
                self.row[_OVERRIDES[name]] = " ".join(map(str, value)) if isinstance(value, list) else value
                continue
            field_name = snake_case(name)
            if isinstance(value, dict | list) or not field_name or field_name in custom:
                self.left_out.append(f"connection_config.{name}")
            else:
                custom[field_name] = _with_scheme(value) if field_name in origins else value
        if custom:
            self.row[CUSTOM_FIELDS] = custom


def _unwrapped(row: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """The API answers with an integration under `data`."""
    inner = row.get("data") if row is not None and len(row) == 1 else None
    return inner if isinstance(inner, dict) else row


def _client_of(integration: Mapping[str, object]) -> dict[str, object]:
    credentials = _members(integration.get("credentials"))
    return {name: credentials[name] for name in _CLIENT if not _is_empty(credentials.get(name))}


def _members(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [], {})


def _with_scheme(value: object) -> object:
    return f"https://{value}" if isinstance(value, str) and "://" not in value else value
