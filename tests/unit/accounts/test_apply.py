"""A row applied to an account: what is stored, when it is due, what an edit changes, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.tables.account import RECONFIGURED, Account, Status, fingerprint
from models.token import Secret
from tests.integration.accounts.conftest import ALLOWED_HTTP, NOW, AccountServices, acme
from worker.accounts.apply import Intent
from worker.accounts.entry import RowRefused
from worker.accounts.token_precedence import ImportOutcome, StoredTokens
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.crypto.sealer import AccountSealer
from worker.policy.reasons.due import BEFORE_EXPIRY, ISSUE_TIME_UNKNOWN, NO_TOKEN_YET, SESSION_TIMEOUT

# --- a new account ---------------------------------------------------------------------------------


def test_a_new_account_is_stored_sealed_and_planned(desk: AccountServices) -> None:
    applied = desk.add(
        acme(issued_at=NOW - 60, expires_in="3600", custom_fields={"tenant": "t1"}, margin_s=30)
    )
    account = applied.account
    assert (account.generation, account.published_generation, account.config_version) == (1, -1, 1)
    assert (account.status, account.reason) == (Status.ACTIVE, None)
    assert (account.issued_at, account.expires_at) == (NOW - 60, NOW + 3540)
    assert account.due_reason == BEFORE_EXPIRY
    assert account.next_refresh_at == account.plan_at
    assert NOW + 3540 - 30 - 15 <= (account.next_refresh_at or 0) <= NOW + 3540 - 30
    assert desk.secret(account, "refresh_token") == "refresh-of-acme-1"
    assert desk.secret(account, "client_secret") == "client-secret-text"
    assert {name: one.reveal() for name, one in desk.sealer.custom_fields(account).items()} == {
        "tenant": "t1"
    }
    assert json.loads(account.knobs) == {"margin_s": 30}
    assert account.source_fp == account.refresh_fp == fingerprint(Secret("refresh-of-acme-1"))
    stored = " ".join(str(value) for value in vars(account).values())
    assert "refresh-of" not in stored
    assert "client-secret-text" not in stored


def test_without_an_access_token_there_is_no_generation_and_it_is_due(desk: AccountServices) -> None:
    account = desk.add(acme(access_token=None)).account
    assert (account.generation, account.due_reason) == (0, NO_TOKEN_YET)
    assert desk.secret(account, "refresh_token") == "refresh-of-acme-1"


@pytest.mark.parametrize(("access_token", "generation"), [("token", 8), (None, 7)])
def test_an_id_that_was_removed_goes_on_from_its_generation(
    desk: AccountServices, access_token: str | None, generation: int
) -> None:
    account = desk.add(acme(access_token=access_token), retired=7).account
    assert account.generation == generation


@pytest.mark.parametrize(
    ("times", "issued_at", "expires_at"),
    [
        ({"issued_at": NOW, "expires_in": 100}, NOW, NOW + 100),
        ({"issued_at": NOW, "expires_at": NOW + 100}, NOW, NOW + 100),
        ({"expires_in": 100, "expires_at": NOW + 100}, NOW, NOW + 100),
        ({"expires_in": 100}, None, None),
        ({"expires_at": NOW + 100}, None, NOW + 100),
        ({"issued_at": NOW, "expires_in": 0}, NOW, None),
        ({"issued_at": NOW}, NOW, None),
        ({}, None, None),
    ],
)
def test_the_times_of_a_token_follow_from_what_is_known(
    desk: AccountServices, times: dict[str, object], issued_at: float | None, expires_at: float | None
) -> None:
    account = desk.add(acme(**times)).account
    assert (account.issued_at, account.expires_at) == (issued_at, expires_at)


def test_a_preset_knows_what_a_row_leaves_out(desk: AccountServices) -> None:
    assert desk.add(acme(default_lifetime_s=1800, issued_at=NOW)).account.expires_at == NOW + 1800
    assert desk.add(acme(never_expires=True, issued_at=NOW, expires_in=10)).account.expires_at is None


def test_accounts_of_unknown_age_take_turns_at_the_rate_of_their_provider(desk: AccountServices) -> None:
    """DESIGN section 2: an import of many accounts is no stampede."""
    due = [desk.add(acme(f"a-{n}", requests_per_s=10)).account for n in range(100)]
    other = desk.add(acme("b", provider="other")).account
    known = desk.add(acme("c", issued_at=NOW, expires_in=3600)).account
    for turn, account in enumerate(due):
        assert account.due_reason == ISSUE_TIME_UNKNOWN
        assert NOW + turn / 10 <= (account.next_refresh_at or 0) <= NOW + (turn + 1) / 10
    assert (other.next_refresh_at or 0) <= NOW + 1 / 50
    assert known.due_reason == BEFORE_EXPIRY


@pytest.mark.parametrize(
    ("fields", "status", "planned"),
    [
        ({}, Status.ACTIVE, True),
        ({"refresh_enabled": False}, Status.DISABLED, False),
        ({"session_management": "none"}, Status.ACTIVE, False),
    ],
)
def test_status_and_plan_follow_the_policy(
    desk: AccountServices, fields: dict[str, object], status: Status, planned: bool
) -> None:
    account = desk.add(acme(**fields)).account
    assert (account.status, account.next_refresh_at is not None) == (status, planned)


def test_webmethods_rows_are_accounts(desk: AccountServices) -> None:
    account = desk.add(
        {
            "Connection": "erp",
            "oauth.consumerId": "consumer",
            "oauth.consumerSecret": "secret",
            "oauth.accessToken": "access",
            "oauth_v20.refreshToken": "refresh",
            "oauth_v20.accessTokenRefreshURL": "https://login.example/token",
            "oauth_v20.refreshAccessToken": "true",
            "oauth_v20.accessTokenRefreshURLRequest": "URL Query String",
            "cn.providerUrl": "https://api.example",
            "cm.timeoutType": "fixed",
            "cm.sessionExpiry": "20",
            "issued_at": NOW,
        }
    ).account
    assert (account.id, account.provider, account.refresh_method) == ("erp", "generic", "url_query")
    assert (account.session_management, account.session_timeout_s) == ("fixed", 1200.0)
    assert (account.next_refresh_at, account.due_reason) == (NOW + 1200, SESSION_TIMEOUT)


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"provider": None, "token_url": None}, "provider", "is missing"),
        ({"provider": "gogle", "token_url": None}, "provider", "is 'google'"),
        ({"provider": "nobody", "token_url": None}, "provider", "neither a token_url nor a callback"),
        ({"provider": "google", "client_id": None}, "client_id", "google needs it"),
        (
            {"provider": "google", "token_url": None, "client_secret": None},
            "client_secret",
            "google needs it",
        ),
        ({"refresh_token": None}, "refresh_token", "needs it"),
        ({"provider": "nobody", "refresh_token": None}, "refresh_token", "nobody needs it"),
        ({"provider": "nobody", "refresh_token": None, "margin_s": 9}, "refresh_token", "nobody needs it"),
        ({"refresh_method": "callback"}, "callback", "needs the callback's name"),
        ({"token_url": None, "callback": "mine"}, "token_url", "or set refresh_method to `callback`"),
        ({"token_url": "http://auth.acme.example/token"}, "token_url", "REFRESHD_ALLOW_HTTP_HOSTS"),
        ({"token_url": "http://127.0.0.1:9/token"}, "token_url", "plain http to 127.0.0.1 is refused"),
        ({"token_url": "ftp://auth.acme.example/"}, "token_url", "https:// is expected"),
        ({"token_url": "auth.acme.example/token"}, "token_url", "names no host"),
        ({"token_url": "https://user:pass@auth.acme.example/"}, "token_url", "user name or password"),
        ({"token_url": "https://${custom.host}/token"}, "custom_fields.host", "needs it"),
        ({"token_url": "https://${env.host}/token"}, "token_url", "is no variable"),
        (
            {"token_url": "https://${custom.host}/token", "custom_fields.host": "evil.example/x?"},
            "custom_fields.host",
            "stands for a host",
        ),
        ({"margin_s": -1}, "margin_s", "greater than or equal to 0"),
        ({"params_in": "xml"}, "params_in", "form"),
        ({"headers": {"X-Tenant": "${custom.tenant}"}}, "custom_fields.tenant", "headers.X-Tenant"),
        ({"headers": {"X-Tenant": "${oops"}}, "headers.X-Tenant", "not closed"),
        ({"client_auth": "private_key_jwt"}, "custom_fields.private_key", "needs it"),
    ],
)
def test_what_could_not_be_refreshed_is_refused_with_its_field(
    desk: AccountServices, fields: dict[str, object], field: str, reason: str
) -> None:
    with pytest.raises(RowRefused) as refused:
        desk.add(acme(**fields))
    found = {one.field: one.reason for one in refused.value.problems}
    assert reason in found[field]


@pytest.mark.parametrize(
    "fields",
    [
        {"token_url": f"http://{ALLOWED_HTTP}/token"},
        {"token_url": "https://${custom.host}/token", "custom_fields.host": "eu.acme.example"},
        {"provider": None},
        {"provider": "unheard-of"},
        {"provider": "unheard-of", "token_url": None, "refresh_method": "callback", "callback": "mine"},
        {"refresh_enabled": False, "refresh_token": None, "client_id": None},
        {"session_management": "none", "refresh_token": None, "provider": "google", "token_url": None},
        {"grant": "client_credentials", "refresh_token": None, "access_token": None},
    ],
)
def test_what_can_be_refreshed_or_never_will_be_is_stored(
    desk: AccountServices, fields: dict[str, object]
) -> None:
    assert desk.add(acme(**fields)).outcome is ImportOutcome.ADDED


# --- an account that is there ----------------------------------------------------------------------


def rotated(
    desk: AccountServices, account: Account, generation: int = 2, *, issued_at: float | None = NOW + 10
) -> Account:
    """Return the account as a worker left it after a refresh."""
    account.generation = generation
    account.access_token_sealed = desk.sealer.seal(account.id, "access_token", Secret(f"access-{generation}"))
    account.refresh_token_sealed = desk.sealer.seal(
        account.id, "refresh_token", Secret(f"refresh-{generation}")
    )
    account.refresh_fp = fingerprint(Secret(f"refresh-{generation}"))
    account.issued_at, account.expires_at = issued_at, None if issued_at is None else issued_at + 3600
    account.scope, account.token_type = "narrower", "bearer"
    return account


def state(account: Account) -> tuple[str, str | None, int]:
    return str(account.status), account.reason, account.failures


def test_the_same_row_again_changes_nothing(desk: AccountServices) -> None:
    row = acme(
        scope="a b",
        issued_at=NOW,
        expires_in=3600,
        custom_fields={"x": "1"},
        headers={"X-A": "b"},
        session_timeout_s=60,
    )
    account = desk.add(row).account
    before = dict(vars(account))
    applied = desk.change(account, row)
    assert (applied.outcome, applied.changed) == (ImportOutcome.UNCHANGED, ())
    assert {k: v for k, v in vars(account).items() if k != "_sa_instance_state"} == {
        k: v for k, v in before.items() if k != "_sa_instance_state"
    }


def test_the_same_row_after_a_refresh_keeps_the_newer_tokens(desk: AccountServices) -> None:
    row = acme(scope="a b", issued_at=NOW, expires_in=3600)
    account = rotated(desk, desk.add(row).account)
    applied = desk.change(account, row)
    assert (applied.outcome, applied.decision.tokens) == (ImportOutcome.KEPT_NEWER, StoredTokens.KEEP)
    assert desk.secret(account, "refresh_token") == "refresh-2"
    assert (account.scope, account.issued_at) == ("narrower", NOW + 10)


def test_configuration_changes_even_where_tokens_are_kept(desk: AccountServices) -> None:
    account = rotated(desk, desk.add(acme()).account)
    account.status, account.reason, account.failures = Status.MISCONFIGURED, "invalid_client", 3
    applied = desk.change(account, acme(client_secret="new-secret"))
    assert (applied.outcome, applied.changed) == (ImportOutcome.CHANGED, ("client_secret",))
    assert applied.decision.tokens is StoredTokens.KEEP
    assert desk.secret(account, "refresh_token") == "refresh-2"
    assert desk.secret(account, "client_secret") == "new-secret"
    assert (account.generation, account.config_version) == (2, 2)
    assert state(account) == ("active", RECONFIGURED, 0)


def test_new_tokens_are_a_new_generation_that_ends_a_refusal(desk: AccountServices) -> None:
    account = rotated(desk, desk.add(acme()).account)
    account.status, account.reason = Status.REAUTHORIZE, "invalid_grant"
    new = acme(access_token="new-access", refresh_token="new-refresh", issued_at=NOW + 50, expires_in=3600)
    applied = desk.change(account, new)
    assert (applied.outcome, applied.recovered) == (ImportOutcome.CHANGED, True)
    assert (account.generation, *state(account)) == (3, "active", None, 0)
    assert desk.secret(account, "refresh_token") == "new-refresh"
    assert account.source_fp == fingerprint(Secret("new-refresh"))
    assert account.expires_at == NOW + 3650
    assert applied.access_token == Secret("new-access")


def test_replace_takes_the_files_refresh_token_and_ends_the_access_token_of_the_grant_before(
    desk: AccountServices,
) -> None:
    row = acme(access_token=None, refresh_token="other")
    account = rotated(desk, desk.add(acme()).account)
    assert desk.change(account, row).outcome is ImportOutcome.KEPT_NEWER
    applied = desk.change(account, row, intent=Intent.FILE_REPLACES)
    assert applied.changed == ("refresh_token",)
    assert (account.generation, desk.secret(account, "refresh_token")) == (3, "other")
    assert (desk.secret(account, "access_token"), account.expires_at) == (None, None)
    assert (applied.access_token, account.due_reason) == (None, NO_TOKEN_YET)


def test_an_access_token_alone_leaves_the_refresh_token(desk: AccountServices) -> None:
    account = rotated(desk, desk.add(acme()).account)
    row = acme(access_token="by-hand", refresh_token=None)
    desk.change(account, row, intent=Intent.FILE_REPLACES)
    assert desk.secret(account, "access_token") == "by-hand"
    assert desk.secret(account, "refresh_token") == "refresh-2"


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"session_timeout_s": 60}, ("session_timeout_s",)),
        ({"custom_fields": {"y": "2"}}, ("custom_fields",)),
        ({"custom_fields.y": "2"}, ("custom_fields",)),
        ({"custom_fields.x": "1"}, ()),
        ({"headers": {"X-A": "c"}}, ("headers",)),
        ({"margin_s": 30}, ("margin_s",)),
        ({"scope": "b"}, ("scope",)),
        ({"issued_at": NOW, "expires_in": 60}, ("issued_at", "expires_at")),
        ({"client_id": None, "scope": None}, ()),
    ],
)
def test_a_changed_column_is_a_change(
    desk: AccountServices, fields: dict[str, Any], changed: tuple[str, ...]
) -> None:
    row = acme(scope="a", custom_fields={"x": "1"}, headers={"X-A": "b"})
    account = desk.add(row).account
    without = {name: value for name, value in row.items() if name != "custom_fields"}
    applied = desk.change(account, {**without, **fields})
    assert applied.changed == changed


def test_the_object_of_custom_fields_names_all_and_a_column_one(desk: AccountServices) -> None:
    account = desk.add(acme(custom_fields={"x": "1", "y": "2"})).account
    desk.change(account, acme(**{"custom_fields.y": "3"}))
    assert {n: v.reveal() for n, v in desk.sealer.custom_fields(account).items()} == {"x": "1", "y": "3"}
    desk.change(account, acme(custom_fields={"z": "4"}))
    assert {n: v.reveal() for n, v in desk.sealer.custom_fields(account).items()} == {"z": "4"}


def test_an_edit_moves_the_due_time_by_the_jitter_that_was_drawn(desk: AccountServices) -> None:
    account = desk.add(acme(issued_at=NOW, expires_in=3600)).account
    jitter, before = account.jitter, account.next_refresh_at or 0
    desk.change(account, acme(margin_s=100))
    desk.change(account, acme(margin_s=200))
    desk.change(account, {"margin_s": ""}, intent=Intent.PERSON)
    assert (account.jitter, account.next_refresh_at) == (jitter, before)
    assert account.config_version == 4


def test_a_person_takes_values_back_to_their_defaults(desk: AccountServices) -> None:
    account = desk.add(acme(session_timeout_s=60, scope="a", custom_fields={"x": "1"}, margin_s=5)).account
    row: dict[str, object] = dict.fromkeys(
        ("session_timeout_s", "scope", "custom_fields.x", "margin_s", "client_secret"), ""
    )
    desk.change(account, row, intent=Intent.PERSON)
    assert (account.session_timeout_s, account.scope, account.knobs) == (900.0, None, "{}")
    assert (account.custom_fields_sealed, account.client_secret_sealed) == (None, None)
    with pytest.raises(RowRefused, match="an account can't be without it"):
        desk.change(account, {"provider": ""}, intent=Intent.PERSON)


def test_an_edit_that_could_not_be_refreshed_is_refused(desk: AccountServices) -> None:
    account = desk.add(acme()).account
    with pytest.raises(RowRefused, match="REFRESHD_ALLOW_HTTP_HOSTS"):
        desk.change(account, {"token_url": "http://plain.example/"}, intent=Intent.PERSON)


def test_a_secret_whose_key_is_lost_is_named_until_it_is_stored_anew(desk: AccountServices) -> None:
    account = desk.add(acme(custom_fields={"x": "1"})).account
    lost = AccountServices(AccountSealer(Cipher(parse_keys(generate_key("k2")))))
    with pytest.raises(RowRefused) as refused:
        lost.change(account, {"client_id": "other"})
    assert {one.field for one in refused.value.problems} == {
        "client_secret",
        "access_token",
        "refresh_token",
        "custom_fields",
    }
    row = acme(client_secret="s2", custom_fields={"x": "2"}, access_token="a2", refresh_token="r2")
    assert lost.change(account, row, intent=Intent.FILE_REPLACES).outcome is ImportOutcome.CHANGED
    assert lost.secret(account, "client_secret") == "s2"
