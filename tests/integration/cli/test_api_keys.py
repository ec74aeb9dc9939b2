"""`refreshd api-keys`: made once, listed without secrets, revoked for good."""

from __future__ import annotations

import json

import pytest

from models.tables.api_key import Credential
from tests.integration.accounts.conftest import Refreshd

pytestmark = pytest.mark.usefixtures("three")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: tests/integration/api tries the same SQL on both databases."""
    return sqlite_url


def test_a_key_is_made_listed_and_revoked(refreshd: Refreshd) -> None:
    words = (
        "--scope",
        "accounts:write",
        "--scope",
        "accounts:read",
        "--label",
        "tenant=acme",
        "--expires",
        "90d",
    )
    made = refreshd("api-keys", "create", "billing", *words, "--json").lines[0]
    credential = Credential.parse(made["key"])
    assert credential is not None
    assert made["scopes"] == ["accounts:read", "accounts:write"]
    assert made["labels"] == {"tenant": "acme"}
    assert made["expires_at"] - made["created_at"] == pytest.approx(90 * 86_400, abs=1)
    listed = refreshd("api-keys", "list", "--json")
    assert [one["name"] for one in listed.lines] == ["billing"]
    assert credential.secret not in json.dumps(listed.lines)
    assert refreshd("api-keys", "revoke", "billing", "--json").lines[0]["outcome"] == "revoked"
    assert refreshd("api-keys", "revoke", credential.id, "--json").lines[0]["outcome"] == "revoked_before"
    unknown = refreshd("api-keys", "revoke", "nobody")
    assert (unknown.exit_code, "or id 'nobody'" in unknown.stderr) == (2, True)
    trail = refreshd("audit", "--json").lines
    assert [one["action"] for one in trail if one["action"].startswith("api_key")] == [
        "api_key_create",
        "api_key_revoke",
    ]
    assert credential.secret not in json.dumps(trail)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("create", "a b", "--scope", "admin"), 2),
        (("create", "a", "--scope", "everything"), 2),
        (("create", "a"), 2),
        (("create", "a", "--scope", "admin", "--label", "x"), 2),
        (("create", "a", "--scope", "admin", "--expires", "soon"), 2),
        (("revoke", "nothing"), 2),
    ],
)
def test_what_cannot_be_made_is_refused(refreshd: Refreshd, words: tuple[str, ...], code: int) -> None:
    assert refreshd("api-keys", *words).exit_code == code


def test_a_name_is_taken_for_good(refreshd: Refreshd) -> None:
    refreshd("api-keys", "create", "billing", "--scope", "admin")
    refreshd("api-keys", "revoke", "billing")
    assert refreshd("api-keys", "create", "billing", "--scope", "admin").exit_code == 2
