"""`refreshd accounts import`, on real stores: counts, exit codes, and tokens that are never put back."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import redis
import yaml

from tests.integration.accounts.conftest import NOW, Ran, Refreshd, acme
from worker.accounts.importer import BATCH
from worker.db.accounts.stored import Accounts
from worker.db.engine import make_engine

Write = Callable[..., Path]


def counts(ran: Ran) -> dict[str, int]:
    return {name: number for name, number in ran.json.items() if name != "errors" and number}


def shown(refreshd: Refreshd, account_id: str) -> Any:
    return refreshd("accounts", "show", account_id, "--json").json


def test_rows_are_stored_and_bad_ones_named_by_line(refreshd: Refreshd, file: Write) -> None:
    path = file(
        acme("a"),
        "not json\n",
        acme("b", session_management="sometimes"),
        acme("c c"),
        acme("a"),
        acme("d", token_url="http://plain.example/", colour="red"),
        acme("e"),
    )
    ran = refreshd("accounts", "import", str(path), "--json")
    assert ran.exit_code == 1
    assert set(ran.json) == {"added", "changed", "unchanged", "kept_newer", "failed", "errors"}
    assert counts(ran) == {"added": 2, "failed": 5}
    found = [(one["line"], one["account"], one["field"]) for one in ran.json["errors"]]
    assert found == [
        (2, None, "row"),
        (3, "b", "session_management"),
        (4, "c c", "id"),
        (5, "a", "id"),
        (6, "d", "colour"),
    ]
    assert ran.json["errors"][3]["reason"] == "line 1 has this id already"
    assert [one["id"] for one in refreshd("accounts", "list", "--json").lines] == ["a", "e"]
    human = refreshd("accounts", "import", str(path))
    assert "0 added, 0 changed, 2 unchanged, 0 kept newer, 5 failed" in human.stdout
    assert (
        "error: line 3, account b: session_management: 'sometimes': expected one of none, fixed, auto"
        in human.stderr
    )


@pytest.mark.parametrize("suffix", ["jsonl", "yaml", "csv"])
def test_every_format_says_the_same(refreshd: Refreshd, tmp_path: Path, suffix: str) -> None:
    rows = [
        acme("a", issued_at=NOW, expires_in="3600", **{"custom_fields.tenant": "t1"}),
        acme("b", refresh_method="url_query", refresh_enabled="false", margin_s="30"),
    ]
    path = tmp_path / f"accounts.{suffix}"
    if suffix == "csv":
        with path.open("w", newline="") as stream:
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(lines if suffix == "jsonl" else yaml.safe_dump(rows))
    assert counts(refreshd("accounts", "import", str(path), "--json")) == {"added": 2}
    a, b = shown(refreshd, "a"), shown(refreshd, "b")
    assert (a["expires_at"], a["custom_fields"]) == (NOW + 3600, {"tenant": "**********"})
    assert (b["refresh_method"], b["status"], float(b["margin_s"])) == ("url_query", "disabled", 30)


def test_rows_that_stand_in_one_line_are_all_stored(refreshd: Refreshd, file: Write) -> None:
    path = file(json.dumps([acme("a"), acme("b"), acme("c c"), acme("b")]), name="accounts.json")
    ran = refreshd("accounts", "import", str(path), "--json")
    assert counts(ran) == {"added": 2, "failed": 2}
    assert [one["reason"][:32] for one in ran.json["errors"]] == [
        "'c c': expected 1 to 128 of the ",
        "line 1 has this id already",
    ]


def test_the_same_file_twice_changes_nothing(refreshd: Refreshd, file: Write, stores: redis.Redis) -> None:
    path = file(*(acme(f"a-{n}", issued_at=NOW, expires_in=10**8) for n in range(BATCH + 100)))
    assert counts(refreshd("accounts", "import", str(path), "--json")) == {"added": BATCH + 100}
    before = refreshd("accounts", "list", "--json").stdout
    state = stores.hgetall("refreshd:account:{a-7}")
    again = refreshd("accounts", "import", str(path), "--json")
    assert (again.exit_code, counts(again)) == (0, {"unchanged": BATCH + 100})
    assert refreshd("accounts", "list", "--json").stdout == before
    assert stores.hgetall("refreshd:account:{a-7}") == state


def test_what_was_stored_is_published_at_once(refreshd: Refreshd, file: Write, stores: redis.Redis) -> None:
    ran = refreshd(
        "accounts",
        "import",
        str(
            file(
                acme("a", expires_at=9e9, scope="x y"),
                acme("b", access_token=None),
                acme("c", expires_at=1.5e9),
            )
        ),
        "--json",
    )
    assert ran.exit_code == 0
    token: Any = stores.hgetall("refreshd:token:{a}")
    assert (token["access_token"], token["generation"], token["scope"]) == ("access-of-a", "1", "x y")
    assert stores.expiretime("refreshd:token:{a}") == 9_000_000_000
    assert not stores.exists("refreshd:token:{b}", "refreshd:token:{c}")
    state: Any = stores.hgetall("refreshd:account:{b}")
    assert (state["status"], state["generation"]) == ("active", "0")
    assert [shown(refreshd, one)["published_generation"] for one in "abc"] == [1, 0, 1]


def test_a_redis_that_is_away_holds_nothing_up(
    refreshd: Refreshd, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_REDIS_URL", "redis://127.0.0.1:1/0")
    ran = refreshd("accounts", "import", str(file(acme("a"))), "--json")
    assert (ran.exit_code, counts(ran)) == (0, {"added": 1})
    assert "not published yet: Redis does not answer" in ran.stderr
    assert shown(refreshd, "a")["published_generation"] == -1
    assert refreshd("accounts", "remove", "a", "--yes").exit_code == 4
    assert refreshd("accounts", "show", "a").exit_code == 0


def test_without_a_redis_accounts_wait_for_the_first_worker(
    refreshd: Refreshd, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFRESHD_REDIS_URL")
    ran = refreshd("accounts", "import", str(file(acme("a"))))
    assert ran.exit_code == 0
    assert "no Redis is configured or has run here yet" in ran.stderr
    assert refreshd("accounts", "remove", "a").exit_code == 0


def test_a_rotated_token_is_not_replaced_by_the_files_stale_one(
    refreshd: Refreshd, file: Write, rotate: Callable[..., None], refresh_token: Callable[[str], str]
) -> None:
    path = file(acme("a"), acme("b"))
    refreshd("accounts", "import", str(path))
    rotate("a", "rotated-1")
    rotate("a", "rotated-2")
    kept = refreshd("accounts", "import", str(path), "--json")
    assert (kept.exit_code, counts(kept)) == (0, {"kept_newer": 1, "unchanged": 1})
    assert "1 accounts keep the tokens that are stored" in kept.stderr
    assert "--replace-tokens" in kept.stderr
    assert refresh_token("a") == "rotated-2"

    changed = file(acme("a", session_timeout_s=60), acme("b"), name="changed.jsonl")
    ran = refreshd("accounts", "import", str(changed), "--json")
    assert counts(ran) == {"changed": 1, "unchanged": 1}
    assert "1 accounts keep the tokens" in ran.stderr
    assert refresh_token("a") == "rotated-2"

    forced = refreshd("accounts", "import", str(path), "--replace-tokens", "--json")
    assert counts(forced) == {"changed": 1, "unchanged": 1}
    assert refresh_token("a") == "refresh-of-a"
    assert shown(refreshd, "a")["generation"] == 4


def test_an_older_export_is_known_by_history_even_after_another_file(
    refreshd: Refreshd, file: Write, rotate: Callable[..., None], refresh_token: Callable[[str], str]
) -> None:
    refreshd("accounts", "import", str(file(acme("a"))))
    rotate("a", "rotated-1")
    rotate("a", "rotated-2", status="reauthorize")
    stale = file(acme("a", refresh_token="rotated-1", issued_at=NOW), name="stale.jsonl")
    assert counts(refreshd("accounts", "import", str(stale), "--json")) == {"kept_newer": 1}
    assert refresh_token("a") == "rotated-2"


def test_new_credentials_bring_a_refused_account_back(
    refreshd: Refreshd,
    file: Write,
    rotate: Callable[..., None],
    refresh_token: Callable[[str], str],
    stores: redis.Redis,
) -> None:
    refreshd("accounts", "import", str(file(acme("a"))))
    rotate("a", "rotated", status="reauthorize")
    stores.hset("refreshd:account:{a}", mapping={"status": "reauthorize", "generation": "2"})
    new = file(acme("a", refresh_token="new-grant", access_token="new-access"), name="new.jsonl")
    assert counts(refreshd("accounts", "import", str(new), "--json")) == {"changed": 1}
    account = shown(refreshd, "a")
    assert (account["status"], account["generation"]) == ("active", 3)
    assert account["next_refresh_at"] is not None
    assert refresh_token("a") == "new-grant"
    token: Any = stores.hgetall("refreshd:token:{a}")
    assert (token["access_token"], token["generation"]) == ("new-access", "3")
    state: Any = stores.hgetall("refreshd:account:{a}")
    assert (state["status"], state["generation"]) == ("active", "3")
    events: Any = stores.xrange("refreshd:events")
    assert [(one["type"], one["reason"]) for _, one in events] == [("recovered", "credentials_replaced")]


def test_a_removed_id_goes_on_from_its_generation(
    refreshd: Refreshd, file: Write, rotate: Callable[..., None], stores: redis.Redis
) -> None:
    path = file(acme("a"))
    refreshd("accounts", "import", str(path))
    rotate("a", "rotated")
    assert refreshd("accounts", "remove", "a").exit_code == 0
    assert stores.keys("*{a}*") == ["refreshd:removed:{a}"]
    refreshd("accounts", "import", str(path))
    # One more than the token's own: no answer that was under way follows the generation that it goes on from.
    assert shown(refreshd, "a")["generation"] == 4
    token: Any = stores.hgetall("refreshd:token:{a}")
    assert token["generation"] == "4"


#: Enough to be interrupted in the midst of them.
BATCHES: Final = 8


def test_ctrl_c_leaves_whole_batches_and_says_how_far_it_came(
    refreshd: Refreshd, file: Write, database_url: str
) -> None:
    path = file(*(acme(f"a-{number:05}") for number in range(BATCHES * BATCH)))
    # A shell starts background processes with SIGINT ignored, and a test run may be one.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from worker.cli import main; main()"
    command = [sys.executable, "-c", code, "accounts", "import", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        engine = make_engine(database_url)
        deadline = time.monotonic() + 60
        while process.poll() is None and not Accounts(engine).count() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    stored = Accounts(engine).count()
    engine.dispose()
    assert process.returncode == 130, stderr
    assert 0 < stored < BATCHES * BATCH
    assert stored % BATCH == 0
    assert json.loads(stdout)["added"] == stored
    assert f"{stored:,} accounts are stored; run the same import again" in stderr
    again = refreshd("accounts", "import", str(path), "--json")
    assert counts(again) == {"added": BATCHES * BATCH - stored, "unchanged": stored}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.jsonl", None, "No such file"),
        ("accounts.txt", '{"id": "a"}\n', "expected --format"),
        ("accounts.yaml", "- id: a\n- [\n", "not valid YAML"),
        ("accounts.csv", "a,b\n1,2\n", "must name the columns"),
        ("accounts.jsonl", '{"id": "a"}\n'.encode("utf-16").decode("latin-1"), "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_none_is_exit_code_2(
    refreshd: Refreshd, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode("latin-1"))
    ran = refreshd("accounts", "import", str(tmp_path / name))
    assert ran.exit_code == 2
    assert words in ran.stderr
    assert refreshd("accounts", "list", "--json").stdout == ""


def test_an_empty_file_says_where_to_look(refreshd: Refreshd, file: Write) -> None:
    ran = refreshd("accounts", "import", str(file()))
    assert ran.exit_code == 0
    assert "the file names no accounts" in ran.stderr


def test_a_database_that_is_away_is_exit_code_4(
    refreshd: Refreshd, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_DATABASE_URL", "postgresql://nobody:x@127.0.0.1:1/none")
    ran = refreshd("accounts", "import", str(file(acme("a"))))
    assert ran.exit_code == 4
    assert "REFRESHD_DATABASE_URL" in ran.stderr


def test_no_secret_is_printed_whatever_is_wrong(refreshd: Refreshd, file: Write) -> None:
    path = file(
        acme("a", client_secret="hush-1", refresh_token="hush\n2", access_token=["hush-3"]),
        '{"id": "b", "refresh_token": "hush-4" "x"}\n',
        acme("c", custom_fields={"key": {"x": "hush-5"}}, client_secret="hush-6", margin_s="x"),
    )
    for words in (["--json"], []):
        ran = refreshd("accounts", "import", str(path), *words)
        assert ran.exit_code == 1
        assert "hush" not in ran.stdout + ran.stderr
