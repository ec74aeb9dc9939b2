"""`refreshd accounts list|show|add|edit|enable|disable|remove|export`, on real stores."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, text

from tests.integration.accounts.conftest import NOW, Refreshd, acme
from worker.context import UP_LOCK
from worker.db.engine import writing

Write = Callable[..., Path]
MASK = "**********"


# --- list and show ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["a", "b", "c"]),
        (["--status", "disabled"], ["b"]),
        (["--status", "reauthorize"], []),
        (["--provider", "acme"], ["a", "c"]),
        (["--method", "callback"], ["c"]),
        (["--provider", "acme", "--limit", "1"], ["a"]),
    ],
)
@pytest.mark.usefixtures("three")
def test_list_filters(refreshd: Refreshd, options: list[str], ids: list[str]) -> None:
    ran = refreshd("accounts", "list", "--json", *options)
    assert (ran.exit_code, [one["id"] for one in ran.lines]) == (0, ids)
    table = refreshd("accounts", "list", *options)
    assert [line.split()[0] for line in table.stdout.splitlines()[1:]] == ids


@pytest.mark.usefixtures("three")
def test_list_names_those_that_are_overdue_and_those_that_fail_for_a_reason(
    refreshd: Refreshd, engine: Engine
) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE account SET next_refresh_at = 1, plan_at = 1 WHERE id IN ('a', 'c')"))
        connection.execute(text("UPDATE account SET plan_at = NULL WHERE id = 'c'"))  # a pause set it aside
        connection.execute(
            text("UPDATE account SET status = 'degraded', reason = 'timed_out' WHERE id = 'c'")
        )

    def listed(*options: str) -> list[str]:
        return [one["id"] for one in refreshd("accounts", "list", "--json", *options).lines]

    assert listed("--overdue") == ["a"]
    assert (listed("--reason", "timed_out"), listed("--reason", "dns_failed")) == (["c"], [])
    assert refreshd("status", "--json").json["overdue"] == 1
    refreshd("pause", "--all")
    assert listed("--overdue") == []


@pytest.mark.usefixtures("three")
def test_list_says_how_many_more_there_are(refreshd: Refreshd) -> None:
    assert "and 2 more" in refreshd("accounts", "list", "--limit", "1").stderr
    assert "3 are stored in all" in refreshd("accounts", "list", "--status", "degraded").stderr


def test_an_empty_list_says_what_to_do_next(refreshd: Refreshd) -> None:
    ran = refreshd("accounts", "list")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "refreshd accounts import FILE" in ran.stderr


@pytest.mark.parametrize("options", [["--status", "happy"], ["--method", "post"], ["--limit", "0"]])
def test_a_wrong_option_is_exit_code_2(refreshd: Refreshd, options: list[str]) -> None:
    assert refreshd("accounts", "list", *options).exit_code == 2


@pytest.mark.usefixtures("three")
def test_show_masks_every_secret(refreshd: Refreshd) -> None:
    found = refreshd("accounts", "show", "c", "--json").json
    for name in ("client_secret", "access_token", "refresh_token"):
        assert found[name] == MASK
    assert (found["custom_fields"], found["callback"], found["margin_s"]) == ({"key": MASK}, "mine", 30)
    for words in ([], ["--json"]):
        for command in (["show", "c"], ["list"]):
            ran = refreshd("accounts", *command, *words)
            for hush in ("hush", "client-secret-text", "access-of", "refresh-of", "v1.k1"):
                assert hush not in ran.stdout + ran.stderr


def test_show_masks_what_may_be_a_secret_in_a_knob(refreshd: Refreshd, file: Write) -> None:
    knobs = {"headers": {"X-Key": "hush", "X-Tenant": "${custom.t}"}, "params": {"password": "hush"}}
    refreshd("accounts", "import", str(file(acme("a", custom_fields={"t": "1"}, **knobs))))
    found = refreshd("accounts", "show", "a", "--json")
    assert found.json["headers"] == {"X-Key": MASK, "X-Tenant": "${custom.t}"}
    assert "hush" not in found.stdout
    assert "hush" not in refreshd("accounts", "export").stdout
    assert "hush" in refreshd("accounts", "export", "--with-secrets").stdout


@pytest.mark.parametrize(
    "words",
    [["show", "nobody"], ["edit", "nobody", "scope=x"], ["enable", "nobody"], ["disable", "a", "nobody"],
     ["remove", "--yes", "a", "nobody"]],
)  # fmt: skip
@pytest.mark.usefixtures("three")
def test_an_unknown_account_is_exit_code_3_and_nothing_is_done(refreshd: Refreshd, words: list[str]) -> None:
    ran = refreshd("accounts", *words)
    assert ran.exit_code == 3
    assert "unknown account 'nobody'" in ran.stderr
    assert refreshd("accounts", "show", "a", "--json").json["status"] == "active"


@pytest.mark.parametrize("words", [["accounts", "show"], ["token"], ["audit"]])
@pytest.mark.usefixtures("three")
def test_an_id_in_another_case_is_guessed(refreshd: Refreshd, words: list[str]) -> None:
    ran = refreshd(*words, "A")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert "Did you mean 'a'?" in ran.stderr


# --- add -------------------------------------------------------------------------------------------


def test_add_stores_and_publishes(refreshd: Refreshd, stores: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "refresh").write_text("the-refresh-token\n")
    (tmp_path / "secret").write_text("s\n")
    (tmp_path / "access").write_text("the-access-token\n")
    ran = refreshd(
        *("accounts", "add", "a", "provider=google", "Consumer ID=c", "--json"),
        *(f"client_secret=@{tmp_path / 'secret'}", f"refresh_token=@{tmp_path / 'refresh'}"),
        *(f"access_token=@{tmp_path / 'access'}", f"issued_at={NOW}", "expires_in=100000000"),
        *("custom_fields.tenant=t1", "margin_s=30", "session_management=auto", "refresh_enabled=yes"),
    )
    assert (ran.exit_code, ran.json["account"], ran.json["outcome"], ran.json["generation"]) == (
        0,
        "a",
        "added",
        1,
    )
    token: Any = stores.hgetall("refreshd:token:{a}")
    assert token["access_token"] == "the-access-token"
    found = refreshd("accounts", "show", "a", "--json").json
    assert (found["margin_s"], found["custom_fields"]) == (30, {"tenant": MASK})


def test_add_takes_secrets_from_the_environment(refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLIENT_SECRET", "REFRESH_TOKEN", "CUSTOM_FIELDS_KEY"):
        monkeypatch.setenv(f"REFRESHD_ACCOUNT_{name}", f"env-{name}")
    ran = refreshd(
        *("accounts", "add", "a", "provider=google", "client_id=c", "custom_fields.key"),
    )
    assert ran.exit_code == 0
    exported = json.loads(refreshd("accounts", "export", "--with-secrets").stdout)
    assert exported["refresh_token"] == "env-REFRESH_TOKEN"
    assert exported["custom_fields"] == {"key": "env-CUSTOM_FIELDS_KEY"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "provider=google"], ["client_id: google needs it", "refresh_token: google needs it"]),
        ([], ["id: is missing"]),
        (["a b", "provider=google"], ["id: 'a b'"]),
        (["a", "id=b"], ["id: is given twice"]),
        (["a", "provider=gogle"], ["is 'google'", "`refreshd providers list` has all"]),
        (["a", "provider=microsoft"], ["is 'microsoft-entra' or"]),
        (["a", "margin=3"], ["margin: unknown field; did you mean 'margin_s'?"]),
        (["a", "margin_s"], ["expected FIELD=VALUE"]),
        (["a", "=x"], ["'=x': expected FIELD=VALUE"]),
        (["a", "custom_fields.key"], ["set REFRESHD_ACCOUNT_CUSTOM_FIELDS_KEY"]),
        (["a", "client_secret=@/nowhere/at/all"], ["client_secret: /nowhere/at/all: No such file"]),
        (["a", "refresh_method=post"], ["post"]),
    ],
)
def test_what_can_not_be_added_is_exit_code_2_and_says_why(
    refreshd: Refreshd, words: list[str], said: list[str]
) -> None:
    ran = refreshd("accounts", "add", *words)
    assert ran.exit_code == 2
    for part in said:
        assert part in ran.stderr


@pytest.mark.usefixtures("three")
def test_an_account_that_exists_is_not_added_again(refreshd: Refreshd) -> None:
    ran = refreshd("accounts", "add", "a", "provider=x", "token_url=https://x.example", "refresh_token=r")
    assert ran.exit_code == 2
    assert "refreshd accounts edit a" in ran.stderr


def test_a_name_of_a_provider_that_accounts_have_is_offered_first_and_noted_where_another_is_stored(
    refreshd: Refreshd,
) -> None:
    words = ("token_url=https://x.example/t", "client_id=c", "client_secret=s", "refresh_token=")
    first = refreshd("accounts", "add", "a", "provider=demo", *words[:3], f"{words[3]}r1")
    assert (first.exit_code, "note:" in first.stderr) == (0, False), first.stderr
    again = refreshd("accounts", "add", "b", "provider=demo", *words[:3], f"{words[3]}r2")
    assert "note:" not in again.stderr
    misspelt = refreshd("accounts", "add", "c", "provider=dmeo", *words[:3], f"{words[3]}r3")
    assert "note: provider 'dmeo' is new; accounts here use 'demo'" in misspelt.stderr
    assert "is 'dmeo' or 'demo'" in refreshd("accounts", "add", "d", "provider=dmeoo").stderr
    near_a_preset = refreshd("accounts", "add", "e", "provider=gogle", *words[:3], f"{words[3]}r4")
    assert "there is a preset 'google'" in near_a_preset.stderr


def test_where_consent_is_asked_is_missing_by_the_account_s_own_name_of_its_provider(
    refreshd: Refreshd,
) -> None:
    ran = refreshd(
        "accounts", "authorize", "a", "provider=demo", "token_url=https://x.example/t", "client_id=c"
    )
    assert ran.exit_code == 2
    assert "where demo asks for consent" in ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["accounts", "authorize", "nobody"],
            "provider: is missing (or token_url), and no account 'nobody' is stored",
        ),
        (["accounts", "authorize", ""], "id: is missing"),
        (["accounts", "edit", "", "scope=x"], "id: is missing"),
        (["clients", "add", "", "--provider", "google"], "name: is missing"),
        (["accounts", "grant", "nobody"], "standard input: not a token response"),
        (["refresh", "a", "--provider", "google"], "--reason or --label: not both"),
        (["callbacks", "new", "x", "--folder", "/nope"], "/nope can't be written: No such file or directory"),
    ],
)
def test_what_was_left_out_or_is_too_much_is_named(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(""))
    ran = refreshd(*words)
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert said in ran.stderr


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Be a person at a terminal who types these lines."""
    answers = StringIO(text)
    monkeypatch.setattr(answers, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", answers)
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: answers.readline().rstrip("\n"))


def test_on_a_terminal_add_asks_for_what_the_provider_needs(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "acme-1\ngoogle\nthe-client\nthe-secret\nthe-refresh-token\n")
    ran = refreshd("accounts", "add")
    assert ran.exit_code == 0, ran.stderr
    exported = json.loads(refreshd("accounts", "export", "--with-secrets").stdout)
    assert (exported["id"], exported["client_id"], exported["refresh_token"]) == (
        "acme-1",
        "the-client",
        "the-refresh-token",
    )


def test_on_a_terminal_add_asks_for_what_a_callback_may_need(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "the-client\nthe-secret\n\nthe-refresh-token\n")
    callback = ("refresh_method=callback", "callback=acme", "refresh_enabled=no")
    ran = refreshd("accounts", "add", "acme-1", "provider=acme", "token_url=https://acme.example", *callback)
    assert ran.exit_code == 0, ran.stderr
    exported = json.loads(refreshd("accounts", "export", "--with-secrets").stdout)
    assert (exported["client_id"], exported["client_secret"], exported["refresh_token"]) == (
        "the-client",
        "the-secret",
        "the-refresh-token",
    )
    assert "access_token" not in exported


@pytest.mark.usefixtures("three")
def test_each_answer_is_checked_and_what_was_answered_stays(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(
        monkeypatch,
        # no id, and one that is taken; no provider's name; a URL without TLS; a token with a dash of a word processor's
        "a b\na\nacme-1\nhttps://x.example\n?\nacme\nacme\nhttp://plain.example/t\nhttps://x.example/t\nthe-refresh-token\nthe-client\n\n"
        "access\u2013token\nthe-access-token\n",
    )
    ran = refreshd("accounts", "add")
    assert ran.exit_code == 0, ran.stderr
    for part in (
        "id: 'a b'",
        "id: exists already",
        "its URL is asked for next",
        "'?': not a provider",
        "  token_url: ",
        "access_token: character 7",
        "--force --wait` tries it now",
    ):
        assert part in ran.stderr
    exported = next(
        row
        for row in map(json.loads, refreshd("accounts", "export", "--with-secrets").stdout.splitlines())
        if row["id"] == "acme-1"
    )
    assert (exported["token_url"], exported["refresh_token"]) == ("https://x.example/t", "the-refresh-token")
    assert (exported["client_id"], exported["access_token"]) == ("the-client", "the-access-token")


CLIENT = (
    *("clients", "add", "crm", "--provider", "google", "--client-id", "c", "--client-secret", "s-12345678"),
)


def test_on_a_terminal_add_asks_for_nothing_that_its_client_has(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refreshd(*CLIENT).exit_code == 0
    typed(monkeypatch, "the-refresh-token\n")
    ran = refreshd("accounts", "add", "acme-1", "client=crm", "labels.tenant=acme", "Labels.stage=live")
    assert ran.exit_code == 0, ran.stderr
    found = refreshd("accounts", "show", "acme-1", "--json").json
    assert (found["provider"], found["client"], found["client_id"]) == ("google", "crm", "c")
    assert found["labels"] == {"tenant": "acme", "stage": "live"}


def test_a_client_that_is_not_stored_is_asked_for_again(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refreshd(*CLIENT).exit_code == 0
    typed(monkeypatch, "cms\ncrm\nthe-refresh-token\n")
    ran = refreshd("accounts", "add", "acme-1", "client=crn")
    assert ran.exit_code == 0, ran.stderr
    assert ran.stderr.count("client: no client") == 2
    assert refreshd("accounts", "show", "acme-1", "--json").json["client"] == "crm"


def test_a_field_that_differs_from_the_clients_is_left_out_with_enter(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refreshd(*CLIENT).exit_code == 0
    typed(monkeypatch, "the-refresh-token\n\n")
    ran = refreshd("accounts", "add", "acme-1", "client=crm", "client_id=other")
    assert ran.exit_code == 0, ran.stderr
    assert "client_id: client 'crm' has another one" in ran.stderr
    assert refreshd("accounts", "show", "acme-1", "--json").json["client_id"] == "c"


def test_a_part_of_a_providers_name_shows_those_that_hold_it(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "googl\ngoogle\nthe-client\nthe-secret\nthe-refresh-token\n")
    ran = refreshd("accounts", "add", "acme-1")
    assert ran.exit_code == 0, ran.stderr
    assert "  google  Google" in ran.stderr
    assert refreshd("accounts", "show", "acme-1", "--json").json["provider"] == "google"


def test_the_same_name_again_is_a_provider_without_a_preset(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "goog\ngoog\nhttps://x.example/t\nthe-refresh-token\n\n\n\n")
    ran = refreshd("accounts", "add", "acme-1")
    assert ran.exit_code == 0, ran.stderr
    assert refreshd("accounts", "show", "acme-1", "--json").json["provider"] == "goog"


def test_what_only_shows_when_it_is_stored_is_asked_again(
    refreshd: Refreshd, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = {"id": "one", "provider": "acme", "client_id": "c", "token_url": "https://x.example/t"}
    assert refreshd("accounts", "import", str(file(twin | {"refresh_token": "shared-token"}))).exit_code == 0
    typed(monkeypatch, "shared-token\n\n\nits-own-token\n")
    fields = [f"{name}={value}" for name, value in twin.items() if name != "id"]
    ran = refreshd("accounts", "add", "two", *fields)
    assert ran.exit_code == 0, ran.stderr
    assert "refresh_token: account one " in ran.stderr
    assert "its-own-token" in refreshd("accounts", "export", "--with-secrets").stdout


def test_a_loopback_url_may_be_http_in_the_data_folder_of_an_up(refreshd: Refreshd, tmp_path: Path) -> None:
    (data_dir := tmp_path / "data").mkdir()
    words = (
        "accounts",
        "add",
        "a",
        "provider=x",
        "token_url=http://127.0.0.1:9/t",
        "refresh_token=r-1234567",
    )
    assert refreshd(*words).exit_code == 2
    (data_dir / UP_LOCK).touch()
    assert refreshd(*words).exit_code == 0
    elsewhere = [*words[:2], "b", "provider=x", "token_url=http://x.example/t", "refresh_token=r-2345678"]
    assert refreshd(*elsewhere).exit_code == 2


# --- edit, enable, disable -------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_edit_changes_fields_and_plans_anew(refreshd: Refreshd, stores: redis.Redis) -> None:
    before = refreshd("accounts", "show", "a", "--json").json
    ran = refreshd(
        "accounts", "edit", "a", "session_management=fixed", "Session Timeout=20", "margin_s=5", "--json"
    )
    assert ran.exit_code == 0
    assert ran.json["changed"] == ["session_management", "session_timeout_s", "margin_s"]
    after = refreshd("accounts", "show", "a", "--json").json
    assert (after["session_timeout_s"], after["next_refresh_at"]) == (1200.0, NOW + 1200)
    assert after["config_version"] == before["config_version"] + 1
    assert after["generation"] == before["generation"] == after["published_generation"]
    state: Any = stores.hgetall("refreshd:account:{a}")
    assert float(state["next_refresh_at"]) == NOW + 1200
    again = refreshd("accounts", "edit", "a", "session_management=fixed", "--json")
    assert (again.exit_code, again.json["outcome"]) == (0, "unchanged")
    back = refreshd("accounts", "edit", "a", "session_management=", "margin_s=", "scope=", "--json")
    assert set(back.json["changed"]) == {"session_management", "margin_s", "scope"}


@pytest.mark.usefixtures("three")
def test_edited_tokens_are_published_as_a_new_generation(
    refreshd: Refreshd, stores: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("piped-access\n"))
    monkeypatch.setenv("REFRESHD_ACCOUNT_REFRESH_TOKEN", "env-refresh")
    ran = refreshd("accounts", "edit", "a", "refresh_token", "access_token=@-")
    assert ran.exit_code == 0, ran.stderr
    assert "changed (refresh_token, access_token)" in ran.stdout
    token: Any = stores.hgetall("refreshd:token:{a}")
    assert (token["access_token"], token["generation"]) == ("piped-access", "2")
    assert "expires_at" not in token  # nothing was said of the new token's end


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["colour=red"], "colour: unknown field"),
        (["id=b"], "id: it can't be edited"),
        (["scope"], "expected FIELD=VALUE"),
        (["refresh_token"], "set REFRESHD_ACCOUNT_REFRESH_TOKEN"),
        (["refresh_token="], "a stored token is not deleted"),
        (["provider="], "can't be without it"),
        (["token_url=http://plain.example"], "REFRESHD_ALLOW_HTTP_HOSTS"),
        (["scope=a", "scope=b"], "scope: is given twice"),
        (["session_timeout_s=0"], "above 0"),
    ],
)
@pytest.mark.usefixtures("three")
def test_what_can_not_be_edited_is_exit_code_2_and_says_why(
    refreshd: Refreshd, words: list[str], said: str
) -> None:
    before = refreshd("accounts", "show", "a").stdout
    ran = refreshd("accounts", "edit", "a", *words)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert refreshd("accounts", "show", "a").stdout.split()[:20] == before.split()[:20]


@pytest.mark.usefixtures("three")
def test_a_value_that_begins_with_an_at_sign_is_written_twice(refreshd: Refreshd) -> None:
    assert refreshd("accounts", "edit", "a", "scope=@@me").exit_code == 0
    assert refreshd("accounts", "show", "a", "--json").json["scope"] == "@me"


@pytest.mark.usefixtures("three")
def test_disable_and_enable_reach_redis(refreshd: Refreshd, stores: redis.Redis) -> None:
    assert refreshd("accounts", "disable", "a", "c").exit_code == 0
    for one in "ac":
        found = refreshd("accounts", "show", one, "--json").json
        assert (found["status"], found["next_refresh_at"]) == ("disabled", None)
        state: Any = stores.hgetall(f"refreshd:account:{{{one}}}")
        assert (state["status"], state["next_refresh_at"]) == ("disabled", "")
    assert stores.exists("refreshd:token:{a}")  # what is published stays until it ends
    ran = refreshd("accounts", "enable", "a", "c", "--json")
    assert [(one["account"], one["status"]) for one in ran.lines] == [("a", "active"), ("c", "active")]
    assert stores.hget("refreshd:account:{a}", "status") == "active"


def test_an_account_whose_provider_is_gone_can_be_disabled_and_labelled(
    refreshd: Refreshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "providers.yaml"
    known.write_text("ours:\n  token_url: https://login.example.com/token\n")
    monkeypatch.setenv("REFRESHD_PROVIDERS_FILE", str(known))
    added = refreshd(
        "accounts", "add", "o", "provider=ours", "client_id=c", "client_auth=none", "refresh_token=r"
    )
    assert added.exit_code == 0, added.stderr
    known.write_text("")

    refused = refreshd("accounts", "edit", "o", "scope=x")
    disabled, labelled = refreshd("accounts", "disable", "o"), refreshd("accounts", "edit", "o", "labels.a=b")
    enabled = refreshd("accounts", "enable", "o")

    assert [one.exit_code for one in (refused, disabled, labelled, enabled)] == [2, 0, 0, 2]
    assert "'ours' is not known" in refused.stderr
    assert "is 'ours' meant" not in refused.stderr


@pytest.mark.usefixtures("three")
def test_an_edit_says_where_redis_is_ahead_of_the_database(refreshd: Refreshd, stores: redis.Redis) -> None:
    """A backup was restored: what Redis has stays, and the edit is not seen there."""
    stores.hset("refreshd:account:{a}", "generation", "99")
    ran = refreshd("accounts", "edit", "a", "session_timeout_s=60")
    assert ran.exit_code == 0
    assert "Redis has a newer generation than the database of 1 accounts (a)" in ran.stderr
    assert "`refreshd db restored`" in ran.stderr


# --- remove ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_remove_takes_everything_of_an_account_away(refreshd: Refreshd, stores: redis.Redis) -> None:
    stores.set("refreshd:stash:{a}", "sealed")
    ran = refreshd("accounts", "remove", "a", "b", "--yes")
    assert (ran.exit_code, ran.stdout) == (0, "removed a, b\n")
    assert sorted([*stores.keys("*{a}*"), *stores.keys("*{b}*")]) == [
        "refreshd:removed:{a}",
        "refreshd:removed:{b}",
    ]
    assert stores.exists("refreshd:account:{c}")
    assert refreshd("accounts", "remove", "a", "--yes").exit_code == 3


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("n\n", False), ("\n", False)])
@pytest.mark.usefixtures("three")
def test_on_a_terminal_remove_asks_first(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch, answer: str, removed: bool
) -> None:
    answers = StringIO(answer)
    monkeypatch.setattr(answers, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", answers)
    ran = refreshd("accounts", "remove", "a")
    assert "can't be brought back" in ran.stderr
    assert (ran.exit_code == 0) is removed
    assert (refreshd("accounts", "show", "a").exit_code == 3) is removed


def test_help_of_every_command_is_there(refreshd: Refreshd) -> None:
    for command in ("import", "add", "list", "show", "edit", "enable", "disable", "remove", "export"):
        ran = refreshd("accounts", command, "--help")
        assert (ran.exit_code, ran.stderr) == (0, "")
