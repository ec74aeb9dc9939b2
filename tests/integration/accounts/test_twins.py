"""Two accounts of one client that hold the same refresh token: refused wherever a token comes in, unless allowed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from models.tables.audit import Action
from models.token import Secret, TokenResponse
from tests.integration.accounts.conftest import AccountServices, Refreshd, acme
from tests.integration.accounts.test_nango import connection, integration
from tests.integration.accounts.test_races import MIA, Raced
from worker.accounts.apply import Intent
from worker.accounts.formats.row import Raw
from worker.accounts.importer import Importer, Summary
from worker.accounts.publisher import CommandPublisher
from worker.accounts.token_precedence import ImportOutcome
from worker.accounts.twins import SameGrant
from worker.clock import Clock
from worker.context import AppContext
from worker.db.records.acts import RunningEntry
from worker.settings import load_settings

Write = Callable[..., Path]
SHARED = "one-refresh-token"
ALLOW = "--allow-shared-grant"


def import_rows(
    refreshd: Refreshd, file: Write, *rows: dict[str, object], options: tuple[str, ...] = ()
) -> Any:
    return refreshd("accounts", "import", str(file(*rows)), "--json", *options).json


def assert_names(error: dict[str, Any], account: str, twin: str) -> None:
    assert (error["account"], error["field"]) == (account, "refresh_token")
    assert f"account {twin}" in error["reason"]
    assert ALLOW in error["reason"]
    assert SHARED not in json.dumps(error)


def test_a_row_with_the_refresh_token_of_another_account_is_an_error_of_that_row(
    refreshd: Refreshd, file: Write
) -> None:
    import_rows(refreshd, file, acme("a", refresh_token=SHARED))
    summary = import_rows(refreshd, file, acme("b", refresh_token=SHARED), acme("c"))
    assert (summary["added"], summary["failed"]) == (1, 1)
    (error,) = summary["errors"]
    assert error["line"] == 1
    assert_names(error, "b", "a")
    assert refreshd("accounts", "show", "b").exit_code == 3


def test_of_two_rows_of_one_file_the_later_one_is_refused(refreshd: Refreshd, file: Write) -> None:
    summary = import_rows(
        refreshd, file, acme("z", refresh_token=SHARED), acme("a", refresh_token=SHARED), acme("m")
    )
    assert (summary["added"], summary["failed"]) == (2, 1)
    assert_names(summary["errors"][0], "a", "z")


@pytest.mark.parametrize("name", ["accounts.csv", "accounts.yaml"])
def test_every_format_is_checked(refreshd: Refreshd, file: Write, name: str) -> None:
    rows = [acme("a", refresh_token=SHARED), acme("b", refresh_token=SHARED)]
    if name.endswith(".csv"):
        text = ",".join(rows[0]) + "\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows)
    else:
        text = json.dumps(rows)
    summary = refreshd("accounts", "import", str(file(text, name=name)), "--json").json
    assert (summary["added"], summary["failed"]) == (1, 1)
    assert_names(summary["errors"][0], "b", "a")


def test_properties_are_checked(refreshd: Refreshd, file: Write) -> None:
    lines = [
        f"artConnection.{one}.{key}={value}\n"
        for one in ("a", "b")
        for key, value in {
            "oauth.consumerId": "client",
            "oauth.consumerSecret": "secret",
            "oauth.accessToken": f"access-{one}",
            "oauth_v20.refreshToken": SHARED,
            "oauth_v20.accessTokenRefreshURL": "https://auth.acme.example/token",
            "oauth_v20.refreshAccessToken": "true",
        }.items()
    ]
    path = file("".join(lines), name="accounts.properties")
    summary = refreshd("accounts", "import", str(path), "--json").json
    assert (summary["added"], summary["failed"]) == (1, 1), summary
    assert summary["errors"][0]["field"] == "refresh_token"


def test_connections_of_nango_are_checked(refreshd: Refreshd, file: Write) -> None:
    summary = import_rows(refreshd, file, integration(), connection(), connection(connection_id="user-2"))
    assert (summary["added"], summary["failed"]) == (1, 1), summary
    assert summary["errors"][0]["field"] == "refresh_token"


def test_the_same_account_again_is_no_twin(
    refreshd: Refreshd, file: Write, rotate: Callable[..., None]
) -> None:
    row = acme("a", refresh_token=SHARED)
    import_rows(refreshd, file, row)
    assert import_rows(refreshd, file, row)["unchanged"] == 1
    assert import_rows(refreshd, file, {**row, "scope": "x", "session_timeout_s": 60})["changed"] == 1
    rotate("a", "rotated")
    assert import_rows(refreshd, file, row)["kept_newer"] == 1
    assert import_rows(refreshd, file, row, options=("--replace-tokens",))["changed"] == 1


def test_a_twin_of_an_account_whose_token_has_been_rotated_since_is_refused(
    refreshd: Refreshd, file: Write, rotate: Callable[..., None]
) -> None:
    """The first refresh of either ended the grant of the other."""
    import_rows(refreshd, file, acme("a", refresh_token=SHARED))
    rotate("a", "rotated")
    assert_names(import_rows(refreshd, file, acme("b", refresh_token=SHARED))["errors"][0], "b", "a")
    assert_names(import_rows(refreshd, file, acme("b", refresh_token="rotated"))["errors"][0], "b", "a")


@pytest.mark.parametrize(
    "other",
    [
        {"client_id": "another"},
        {"token_url": "https://auth.other.example/token"},
        {"token_url": "https://auth.acme.example:8443/token"},
    ],
)
def test_the_same_text_of_another_client_or_server_is_another_grant(
    refreshd: Refreshd, file: Write, other: dict[str, object]
) -> None:
    summary = import_rows(
        refreshd, file, acme("a", refresh_token=SHARED), acme("b", refresh_token=SHARED, **other)
    )
    assert summary["added"] == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"provider": "acme"}, {"provider": "other"}),
        ({"provider": "xero", "token_url": None}, {"token_url": "https://IDENTITY.xero.com:443/connect/token"}),
        ({"provider": "salesforce", "token_url": None},
         {"provider": "salesforce", "token_url": "https://acme.my.salesforce.com/services/oauth2/token"}),
        ({"client_id": None, "token_url": None, "refresh_method": "callback", "callback": "mine"},) * 2,
    ],
)  # fmt: skip
def test_one_server_by_two_names_is_one_client(
    refreshd: Refreshd, file: Write, first: dict[str, object], second: dict[str, object]
) -> None:
    summary = import_rows(
        refreshd, file, acme("a", refresh_token=SHARED, **first), acme("b", refresh_token=SHARED, **second)
    )
    assert (summary["added"], summary["failed"]) == (1, 1), summary
    assert_names(summary["errors"][0], "b", "a")


def test_a_token_that_is_never_sent_makes_no_twin(refreshd: Refreshd, file: Write) -> None:
    fields = {"grant": "client_credentials", "refresh_token": "none"}
    assert import_rows(refreshd, file, acme("a", **fields), acme("b", **fields))["added"] == 2


def test_accounts_without_a_refresh_token_are_no_twins(refreshd: Refreshd, file: Write) -> None:
    fields = {"grant": "client_credentials", "refresh_token": None, "access_token": "shared"}
    assert import_rows(refreshd, file, acme("a", **fields), acme("b", **fields))["added"] == 2


def test_whoever_means_it_says_so(refreshd: Refreshd, file: Write) -> None:
    rows = [acme("a", refresh_token=SHARED), acme("b", refresh_token=SHARED)]
    assert import_rows(refreshd, file, *rows, options=(ALLOW,))["added"] == 2
    assert import_rows(refreshd, file, *rows)["unchanged"] == 2, "what is stored stays importable"
    assert refreshd("accounts", "edit", "b", "session_timeout_s=60").exit_code == 0
    (detail,) = [one["detail"] for one in refreshd("audit", "--json").lines if one["detail"].get("added")]
    assert detail["allow_shared_grant"] is True


def test_add_refuses_a_twin(refreshd: Refreshd, file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import_rows(refreshd, file, acme("a", refresh_token=SHARED))
    monkeypatch.setenv("REFRESHD_ACCOUNT_REFRESH_TOKEN", SHARED)
    words = ["accounts", "add", "b", "provider=acme", "client_id=client", "client_secret=x",
             "token_url=https://auth.acme.example/token"]  # fmt: skip
    ran = refreshd(*words)
    assert ran.exit_code == 2
    assert "refresh_token: account a " in ran.stderr
    assert ALLOW in ran.stderr
    assert SHARED not in ran.stderr
    assert refreshd("accounts", "show", "b").exit_code == 3
    assert refreshd(*words, ALLOW).exit_code == 0


def test_edit_refuses_a_twin(
    refreshd: Refreshd, file: Write, refresh_token: Callable[[str], str | None]
) -> None:
    import_rows(refreshd, file, acme("a", refresh_token=SHARED), acme("b"))
    ran = refreshd("accounts", "edit", "b", f"refresh_token={SHARED}")
    assert ran.exit_code == 2
    assert "refresh_token: account a " in ran.stderr
    assert refresh_token("b") == "refresh-of-b"
    assert refreshd("accounts", "edit", "b", f"refresh_token={SHARED}", ALLOW).exit_code == 0


def test_authorize_refuses_a_twin(
    refreshd: Refreshd,
    file: Write,
    monkeypatch: pytest.MonkeyPatch,
    refresh_token: Callable[[str], str | None],
) -> None:
    """Some providers answer each consent of one user with the refresh token that they gave before."""
    import_rows(
        refreshd, file, *(acme(one, provider="xero", token_url=None) for one in ("a", "c")),
        acme("b", provider="xero", token_url=None, refresh_token=SHARED),
    )  # fmt: skip
    given = TokenResponse(Secret("new-access"), refresh_token=Secret(SHARED))
    monkeypatch.setattr("worker.cli.accounts.authorize._granted", lambda *_, **__: given)

    for words in (["a"], ["new", "provider=xero", "client_id=client", "client_secret=x"]):
        ran = refreshd("accounts", "authorize", *words)
        assert ran.exit_code == 2
        assert "refresh_token: account b " in ran.stderr
    assert refresh_token("a") == "refresh-of-a"
    assert refreshd("accounts", "authorize", "b").exit_code == 0
    assert refreshd("accounts", "authorize", "a", ALLOW).exit_code == 0
    assert refresh_token("a") == SHARED


def test_an_edit_of_the_client_can_make_a_twin_too(refreshd: Refreshd, file: Write) -> None:
    import_rows(
        refreshd, file, acme("a", refresh_token=SHARED), acme("b", refresh_token=SHARED, client_id="other")
    )
    ran = refreshd("accounts", "edit", "b", "client_id=client")
    assert ran.exit_code == 2
    assert "refresh_token: account a " in ran.stderr


def test_a_token_may_move_from_one_account_to_another_in_one_file(refreshd: Refreshd, file: Write) -> None:
    import_rows(refreshd, file, acme("a", refresh_token=SHARED), acme("b"))
    summary = import_rows(
        refreshd, file, acme("a", refresh_token="a-new-one"), acme("b", refresh_token=SHARED)
    )
    assert summary["changed"] == 2, summary


def test_of_two_imports_at_once_one_is_refused(desk: AccountServices, stores: redis.Redis) -> None:
    """Both have read before either has written: what one commits, the other's commit sees."""
    assert stores.ping()
    both = threading.Barrier(2, timeout=30)
    summaries: dict[str, Summary] = {}

    def run(account_id: str) -> None:
        here = AppContext(load_settings())
        accounts = Raced(here.engine)
        accounts.happens = both.wait
        with CommandPublisher(
            redis_url=lambda: here.settings.redis, keys=here.keys, store=here.publication_store
        ) as publisher:
            importer = Importer(
                accounts=accounts,
                applier=desk.applier,
                publisher=publisher,
                clock=Clock(),
                intent=Intent.FILE,
                entry=RunningEntry(here.engine, MIA, Action.IMPORT, {}),
                twins=SameGrant(here.providers),
            )
            summaries[account_id] = importer.run([Raw(1, acme(account_id, refresh_token=SHARED))])
        here.engine.dispose()

    threads = [threading.Thread(target=run, args=(one,)) for one in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    added = [one for one, summary in summaries.items() if summary.counts[ImportOutcome.ADDED]]
    (refused,) = {"a", "b"} - set(added)
    assert len(added) == 1
    (error,) = summaries[refused].errors
    assert_names(error.to_json(), refused, added[0])
