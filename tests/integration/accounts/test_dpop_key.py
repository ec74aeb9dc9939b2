"""A `dpop_key` is compared with the key that the access token is bound to, wherever both come in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from tests.integration.accounts.conftest import AccountServices, Refreshd, acme
from worker.accounts.apply import Intent
from worker.accounts.entry import RowRefused

MINE, THEIRS = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")


def access_token(key: ECKey) -> str:
    return jwt.encode({"alg": "HS256"}, {"cnf": {"jkt": key.thumbprint()}}, OctKey.import_key("k" * 32))


def row(key: ECKey, token: str, **fields: object) -> dict[str, object]:
    pem = key.as_pem(private=True).decode()
    return acme(
        "a",
        access_token=token,
        dpop=True,
        **{"client_auth": "none", "custom_fields": {"dpop_key": pem}, **fields},
    )


def test_an_import_names_the_key_of_another_grant(refreshd: Refreshd, file: Callable[..., Path]) -> None:
    summary = refreshd("accounts", "import", str(file(row(MINE, access_token(THEIRS)))), "--json").json
    (error,) = summary["errors"]
    assert (error["line"], error["account"], error["field"]) == (1, "a", "custom_fields.dpop_key")
    assert MINE.thumbprint() in error["reason"]
    assert THEIRS.thumbprint() in error["reason"]
    assert refreshd("accounts", "show", "a").exit_code == 3


def test_the_right_key_is_stored(refreshd: Refreshd, file: Callable[..., Path]) -> None:
    ran = refreshd("accounts", "import", str(file(row(MINE, access_token(MINE)))), "--json")
    assert ran.json["added"] == 1, ran.json


def test_an_edit_is_compared_with_the_stored_token(
    refreshd: Refreshd, file: Callable[..., Path], tmp_path: Path
) -> None:
    assert refreshd("accounts", "import", str(file(row(MINE, access_token(MINE))))).exit_code == 0
    pem = tmp_path / "theirs.pem"
    pem.write_text(THEIRS.as_pem(private=True).decode())

    ran = refreshd("accounts", "edit", "a", f"custom_fields.dpop_key=@{pem}")

    assert ran.exit_code == 2
    assert "custom_fields.dpop_key: " in ran.stderr
    assert THEIRS.thumbprint() in ran.stderr
    both = (f"custom_fields.dpop_key=@{pem}", f"access_token={access_token(THEIRS)}")
    assert refreshd("accounts", "edit", "a", *both).exit_code == 0


def test_a_client_that_may_change_its_key_says_so(desk: AccountServices) -> None:
    account = desk.add(row(MINE, access_token(MINE))).account
    change: dict[str, object] = {"custom_fields": {"dpop_key": THEIRS.as_pem(private=True).decode()}}
    with pytest.raises(RowRefused, match=r"custom_fields\.dpop_key"):
        desk.change(account, change, intent=Intent.PERSON)
    desk.change(account, {**change, "dpop_key_may_change": True}, intent=Intent.PERSON)


def test_a_token_that_says_nothing_of_a_key_goes_with_any(desk: AccountServices) -> None:
    desk.add(row(MINE, "opaque"))
    desk.add(acme("b", access_token=access_token(THEIRS)))
