"""`accounts import --clients`: what many rows share becomes a client that they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Refreshd, acme

File = Callable[..., Path]
URL = "https://auth.acme.example/token"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: test_clients.py tries the same SQL on both databases."""
    return sqlite_url


def clients_of(refreshd: Refreshd) -> dict[str, str | None]:
    return {line["id"]: line["client"] for line in refreshd("accounts", "list", "--json").lines}


def test_rows_of_one_client_name_it_and_others_keep_their_own(refreshd: Refreshd, file: File) -> None:
    path = file(
        acme("a"), acme("b"), acme("stale", client_secret="last-years"), acme("alone", client_id="other")
    )
    ran = refreshd("accounts", "import", str(path), "--clients", "--json")
    assert ran.exit_code == 0, ran.stdout
    assert (ran.json["added"], ran.json["clients"]) == (4, {"acme-client": 2})
    assert clients_of(refreshd) == {"a": "acme-client", "alone": None, "b": "acme-client", "stale": None}
    (client,) = refreshd("clients", "list", "--json").lines
    assert (client["client_id"], client["provider"], client["token_url"]) == ("client", "acme", URL)
    again = refreshd("accounts", "import", str(file(acme("a"), acme("b"))), "--clients", "--json").json
    assert (again["unchanged"], len(refreshd("clients", "list", "--json").lines)) == (2, 1)


def test_a_stored_client_keeps_its_newer_secret(refreshd: Refreshd, file: File) -> None:
    path = file(acme("a"), acme("b"))
    refreshd("accounts", "import", str(path), "--clients")
    refreshd("clients", "edit", "acme-client", "client_secret=newer")
    ran = refreshd("accounts", "import", str(path), "--clients", "--json").json
    assert (ran["unchanged"], ran["failed"]) == (2, 0)


def test_without_the_option_every_account_has_its_own(refreshd: Refreshd, file: File) -> None:
    refreshd("accounts", "import", str(file(acme("a"), acme("b"))))
    assert clients_of(refreshd) == {"a": None, "b": None}
    assert refreshd("clients", "list", "--json").lines == []


def test_webmethods_columns_are_understood(refreshd: Refreshd, file: File) -> None:
    lines = "".join(f"{name};id-1;secret-1;rt-{name};{URL}\n" for name in ("a", "b"))
    header = "Account;Consumer ID;Consumer Secret;Refresh Token;Refresh URL\n"
    ran = refreshd("accounts", "import", str(file(header + lines, name="wm.csv")), "--clients", "--json")
    assert ran.json["clients"] == {"auth.acme.example-id-1": 2}
    assert (
        "clients that rows share"
        in refreshd("accounts", "import", str(file(header + lines, name="wm.csv")), "--clients").stderr
    )


def test_nangos_integrations_become_clients(refreshd: Refreshd, file: File) -> None:
    integration = {
        "unique_key": "drive", "provider": "google", "credentials": {"client_id": "g-1", "client_secret": "s"},
    }  # fmt: skip
    connections = [
        {
            "connection_id": name, "provider_config_key": "drive", "provider": "google",
            "credentials": {"type": "OAUTH2", "access_token": "at", "refresh_token": f"rt-{name}"},
        }
        for name in ("a", "b")
    ]  # fmt: skip
    ran = refreshd("accounts", "import", str(file(integration, *connections)), "--clients", "--json")
    assert ran.json["clients"] == {"google-g-1": 2}
    assert clients_of(refreshd) == {"a": "google-g-1", "b": "google-g-1"}


def test_what_no_account_could_be_refreshed_with_stays_with_its_rows(refreshd: Refreshd, file: File) -> None:
    path = file(*(acme(name, token_url="http://elsewhere.example/t") for name in ("a", "b")))
    ran = refreshd("accounts", "import", str(path), "--clients", "--json").json
    assert (ran["failed"], ran["clients"]) == (2, {})
    assert {error["field"] for error in ran["errors"]} == {"token_url"}
