"""`refreshd clients`, and accounts that name one, on real stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from models.tables.account import Account
from tests.integration.accounts.conftest import KEY, Refreshd, acme
from worker.accounts.clients.editor import _BY_NONE
from worker.crypto.cipher import Cipher, parse_keys
from worker.crypto.sealer import AccountSealer
from worker.db.accounts.clients import Clients
from worker.db.accounts.stored import Accounts
from worker.db.engine import make_engine, writing

URL = "https://auth.acme.example/token"
File = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("crm")


@pytest.fixture
def crm(refreshd: Refreshd, tmp_path: Path) -> Path:
    """A client `crm`, whose secret is in the file that is returned."""
    secret = tmp_path / "secret.txt"
    secret.write_text("first-secret\n")
    ran = refreshd(
        "clients", "add", "crm", "--provider", "acme", "--token-url", URL,
        "--client-id", "id-1", "--client-secret", f"@{secret}", "--client-auth", "basic",
    )  # fmt: skip
    assert ran.exit_code == 0, ran.stderr
    return secret


def row(account_id: str, **fields: object) -> dict[str, object]:
    """Return an account's row that names the client `crm` and brings nothing of its own."""
    return acme(
        account_id, provider=None, client_id=None, client_secret=None, token_url=None, client="crm", **fields
    )


def account(database_url: str, account_id: str) -> Account:
    engine = make_engine(database_url)
    try:
        return Accounts(engine).find([account_id])[account_id]
    finally:
        engine.dispose()


def stored_secret(database_url: str, name: str = "crm") -> str | None:
    engine = make_engine(database_url)
    try:
        secret = AccountSealer(Cipher(parse_keys(KEY))).client_secret(Clients(engine).find([name])[name])
    finally:
        engine.dispose()
    return None if secret is None else secret.reveal()


def stop(database_url: str, *ids: str) -> None:
    """Do what workers do when the provider refuses the client."""
    engine = make_engine(database_url)
    with writing(engine) as connection:
        for account_id in ids:
            connection.execute(
                text(
                    "UPDATE account SET status = 'misconfigured', reason = 'invalid_client', failures = 3, failed_at = 5, "
                    "next_refresh_at = 9e9, plan_at = 9e9, expires_at = 5, issued_at = 1 WHERE id = :id"
                ),
                {"id": account_id},
            )
    engine.dispose()


def test_a_client_is_added_shown_and_listed_without_its_secret(refreshd: Refreshd, database_url: str) -> None:
    assert stored_secret(database_url) == "first-secret"
    (listed,) = refreshd("clients", "list", "--json").lines
    assert (listed["name"], listed["client_id"], listed["client_secret"]) == ("crm", "id-1", "**********")
    shown = refreshd("clients", "show", "crm")
    assert "id-1" in shown.stdout
    assert "first-secret" not in shown.stdout + json.dumps(listed)
    assert "crm" in refreshd("clients", "list").stdout


def test_a_name_that_is_taken_is_refused(refreshd: Refreshd) -> None:
    ran = refreshd("clients", "add", "crm", "--provider", "xero", "--client-id", "x", "--client-secret", "y")
    assert ran.exit_code == 2
    assert "client crm exists" in ran.stderr


def test_a_client_that_was_registered_by_hand_is_renewed_by_hand(refreshd: Refreshd) -> None:
    ran = refreshd("clients", "renew", "crm")
    assert ran.exit_code == 1
    assert ran.stderr.count("\n") == 1
    assert "then `refreshd clients edit crm client_secret=@FILE`" in ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--provider", "no-such"),
            "provider: 'no-such' is not known, and there is neither a token_url nor a callback;",
        ),
        (("--client-id", "x"), "provider: is missing"),
        (("--provider", "xero", "--client-secret", "s"), "client_id: xero needs it"),
        (("--provider", "xero", "--token-url", "http://auth.example/t"), "token_url:"),
        (("--provider", "xero", "--return-url", "ftp://x"), "return_urls:"),
        (("--provider", "xero", "--return-url", "http://app.example/back"), "return_urls:"),
        (("--provider", "xero", "--return-url", "https://app.example/#x"), "return_urls:"),
        (("--provider", "xero", "--client-secret-expires-at", "soon"), "client_secret_expires_at:"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(refreshd: Refreshd, words: tuple[str, ...], said: str) -> None:
    ran = refreshd("clients", "add", "new", *words)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert [line["name"] for line in refreshd("clients", "list", "--json").lines] == ["crm"]


def test_an_account_takes_id_auth_provider_and_url_from_its_client(
    refreshd: Refreshd, file: File, database_url: str
) -> None:
    assert refreshd("accounts", "import", str(file(row("a"))), "--json").json["added"] == 1
    stored = account(database_url, "a")
    assert (stored.client, stored.client_id, stored.client_auth) == ("crm", "id-1", "basic")
    assert (stored.provider, stored.token_url, stored.client_secret_sealed) == ("acme", URL, None)
    assert refreshd("accounts", "list", "--client", "crm", "--json").lines[0]["client"] == "crm"
    # The same file again, and what is exported, change nothing.
    assert refreshd("accounts", "import", str(file(row("a"))), "--json").json["unchanged"] == 1
    exported = refreshd("accounts", "export", "--with-secrets").lines[0]
    assert exported["client"] == "crm"
    assert {"client_id", "client_auth", "client_secret"}.isdisjoint(exported)
    again = file(exported, name="again.jsonl")
    assert refreshd("accounts", "import", str(again), "--json").json["unchanged"] == 1


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"client": "nobody"}, "client"),
        ({"client": "not a name"}, "client"),
        ({"client_id": "another"}, "client_id"),
        ({"client_secret": "another"}, "client_secret"),
        ({"client_auth": "body"}, "client_auth"),
    ],
)
def test_what_differs_from_the_client_is_an_error_of_its_row(
    refreshd: Refreshd, file: File, fields: dict[str, object], wrong: str
) -> None:
    ran = refreshd("accounts", "import", str(file({**row("a"), **fields})), "--json")
    assert ran.exit_code == 1
    assert [error["field"] for error in ran.json["errors"]] == [wrong]
    assert "first-secret" not in ran.stdout


def test_what_is_the_same_as_the_clients_is_accepted(refreshd: Refreshd, file: File) -> None:
    same = row("a") | {"client_id": "id-1", "client_secret": "first-secret", "client_auth": "basic"}
    assert refreshd("accounts", "import", str(file(same)), "--json").json["added"] == 1


def test_an_account_moves_to_a_client_and_back_to_its_own(
    refreshd: Refreshd, file: File, database_url: str
) -> None:
    refreshd("accounts", "import", str(file(acme("a"))))
    moved = refreshd("accounts", "edit", "a", "client=crm", "--json")
    assert moved.exit_code == 0, moved.stderr
    assert set(moved.json["changed"]) == {"client", "client_id", "client_auth"}
    assert account(database_url, "a").client_secret_sealed is None
    back = refreshd("accounts", "edit", "a", "client=", "client_id=own", "client_secret=own-secret", "--json")
    assert back.exit_code == 0, back.stderr
    stored = account(database_url, "a")
    assert (stored.client, stored.client_id, stored.client_auth) == (None, "own", None)
    assert stored.client_secret_sealed is not None


def test_one_edit_of_a_secret_serves_every_account_and_wakes_those_that_its_end_had_stopped(
    refreshd: Refreshd, crm: Path, file: File, database_url: str
) -> None:
    refreshd("accounts", "import", str(file(row("a"), row("b"), row("c"), acme("own"))))
    stop(database_url, "a", "b", "own")
    before = {one: account(database_url, one) for one in ("a", "c", "own")}
    crm.write_text("second-secret")
    ran = refreshd("clients", "edit", "crm", f"client_secret=@{crm}", "--json")
    assert ran.json == {
        "client": "crm", "outcome": "changed", "changed": ["client_secret"], "accounts": 3, "woken": 2,
    }  # fmt: skip
    assert stored_secret(database_url) == "second-secret"
    after = {one: account(database_url, one) for one in ("a", "b", "c", "own")}
    assert (after["a"].status, after["a"].reason, after["a"].failures) == ("active", "reconfigured", 0)
    assert (after["a"].next_refresh_at or 0) < 9e9
    # One after the other: the provider's rate is not known, so fifty a second.
    assert (after["b"].plan_at or 0) - (after["a"].plan_at or 0) == pytest.approx(0.02, abs=0.001)
    assert after["a"].config_version == before["a"].config_version + 1
    assert after["c"].config_version == before["c"].config_version + 1
    assert (after["c"].next_refresh_at, after["c"].status) == (before["c"].next_refresh_at, "active")
    assert (after["own"].status, after["own"].config_version) == (
        "misconfigured",
        before["own"].config_version,
    )


def test_an_edit_that_changes_nothing_touches_no_account(
    refreshd: Refreshd, file: File, database_url: str, crm: Path
) -> None:
    refreshd("accounts", "import", str(file(row("a"))))
    before = account(database_url, "a").config_version
    ran = refreshd("clients", "edit", "crm", "client_id=id-1", f"client_secret=@{crm}", "--json").json
    assert (ran["outcome"], ran["accounts"]) == ("unchanged", 0)
    urls = refreshd("clients", "edit", "crm", "return_urls=https://app.example/back", "--json").json
    assert (urls["changed"], urls["accounts"]) == (["return_urls"], _BY_NONE.accounts)
    assert account(database_url, "a").config_version == before


def test_accounts_follow_the_clients_url_unless_they_have_their_own(
    refreshd: Refreshd, file: File, database_url: str
) -> None:
    own = f"{URL}/of-its-own"
    refreshd("accounts", "import", str(file(row("a"), row("b") | {"token_url": own})))
    new = "https://new.acme.example/token"
    assert refreshd("clients", "edit", "crm", f"token_url={new}", "client_id=id-2").exit_code == 0
    a, b = account(database_url, "a"), account(database_url, "b")
    assert (a.token_url, a.client_id) == (new, "id-2")
    assert (b.token_url, b.client_id) == (own, "id-2")


def test_a_new_secret_takes_the_end_of_the_one_before_it_away(refreshd: Refreshd) -> None:
    refreshd("clients", "edit", "crm", "client_secret_expires_at=2030-01-01T00:00:00Z")
    assert refreshd("clients", "show", "crm", "--json").json["client_secret_expires_at"] == 1893456000
    refreshd("clients", "edit", "crm", "client_secret=second")
    assert refreshd("clients", "show", "crm", "--json").json["client_secret_expires_at"] is None


def test_a_client_that_accounts_name_is_not_removed_unless_it_is_forced(
    refreshd: Refreshd, file: File, database_url: str
) -> None:
    refreshd("accounts", "import", str(file(row("a"))))
    ran = refreshd("clients", "remove", "crm")
    assert ran.exit_code == 2
    assert "1 accounts name it" in ran.stderr
    assert refreshd("clients", "remove", "crm", "--force", "--json").json["accounts"] == 1
    assert refreshd("clients", "show", "crm").exit_code == 2
    stop(database_url, "a")
    # Added again under its name, it serves the account that still names it.
    added = refreshd("clients", "add", "crm", "--provider", "acme", "--token-url", URL, "--client-id", "id-3",
                     "--client-secret", "third", "--json").json  # fmt: skip
    assert (added["accounts"], added["woken"]) == (1, 1)
    stored = account(database_url, "a")
    assert (stored.client_id, stored.status) == ("id-3", "active")


def test_the_audit_trail_names_fields_and_never_a_secret(refreshd: Refreshd) -> None:
    refreshd("clients", "edit", "crm", "client_secret=second-secret")
    refreshd("clients", "remove", "crm")
    trail = refreshd("audit", "--json")
    acts = [(line["action"], line["detail"]) for line in trail.lines]
    assert acts == [
        ("client_add", {"client": "crm"}),
        ("client_edit", {"client": "crm", "fields": ["client_secret"]}),
        ("client_remove", {"client": "crm"}),
    ]
    assert "-secret" not in trail.stdout


@pytest.mark.parametrize(
    "words", [("edit", "nobody", "client_id=x"), ("remove", "nobody"), ("show", "nobody")]
)
def test_a_client_that_is_not_there_is_named(refreshd: Refreshd, words: tuple[str, ...]) -> None:
    ran = refreshd("clients", *words)
    assert ran.exit_code == 2
    assert "no client 'nobody' is stored" in ran.stderr
