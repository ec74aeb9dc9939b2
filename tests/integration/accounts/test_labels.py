"""Labels of accounts as people give and ask for them, on real stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.integration.accounts.conftest import Refreshd, acme
from worker.db.engine import make_engine, reading, writing

File = Callable[..., Path]


@pytest.fixture
def labelled(refreshd: Refreshd, file: File) -> None:
    path = file(
        acme("a", labels={"tenant": "acme", "stage": "live"}),
        acme("b", **{"labels.tenant": "acme"}),
        acme("c"),
    )
    assert refreshd("accounts", "import", str(path)).exit_code == 0


def ids(refreshd: Refreshd, *words: str) -> list[str]:
    return [line["id"] for line in refreshd("accounts", "list", "--json", *words).lines]


@pytest.mark.usefixtures("labelled")
def test_accounts_are_listed_by_their_labels(refreshd: Refreshd) -> None:
    assert ids(refreshd, "--label", "tenant=acme") == ["a", "b"]
    assert ids(refreshd, "--label", "tenant=acme", "--label", "stage=live") == ["a"]
    assert ids(refreshd, "--label", "tenant=other") == []
    first = refreshd("accounts", "list", "--json").lines[0]
    assert first["labels"] == {"tenant": "acme", "stage": "live"}
    assert "labels.tenant" in refreshd("accounts", "show", "a").stdout


@pytest.mark.usefixtures("labelled")
@pytest.mark.parametrize("word", ["tenant", "tenant=", "=x", "tenant=a b", "tenant=a\u00e4"])
def test_an_option_that_is_no_label_is_refused(refreshd: Refreshd, word: str) -> None:
    ran = refreshd("accounts", "list", "--label", word)
    assert ran.exit_code == 2
    assert "--label" in ran.stderr


@pytest.mark.usefixtures("labelled")
def test_labels_are_edited_one_by_one_and_leave_the_refresh_alone(
    refreshd: Refreshd, database_url: str
) -> None:
    engine = make_engine(database_url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE account SET failures = 2, failed_at = 5, plan_at = 7 WHERE id = 'a'"))
    ran = refreshd("accounts", "edit", "a", "labels.stage=", "labels.region=eu", "--json").json
    assert (ran["outcome"], ran["changed"]) == ("changed", ["labels"])
    with reading(engine) as connection:
        kept = connection.execute(
            text("SELECT failures, failed_at, plan_at, config_version FROM account WHERE id = 'a'")
        ).one()
    engine.dispose()
    assert tuple(kept) == (2, 5, 7, 1)
    assert ids(refreshd, "--label", "region=eu") == ["a"]
    assert ids(refreshd, "--label", "stage=live") == []


@pytest.mark.usefixtures("labelled")
@pytest.mark.parametrize("file_format", ["jsonl", "csv", "yaml"])
def test_an_export_brings_labels_back_in_each_format(
    refreshd: Refreshd, tmp_path: Path, file_format: str
) -> None:
    path = tmp_path / f"all.{file_format}"
    assert refreshd("accounts", "export", str(path)).exit_code == 0
    assert refreshd("accounts", "edit", "a", "labels.tenant=gone").exit_code == 0
    assert refreshd("accounts", "import", str(path), "--json").json["changed"] == 1
    assert ids(refreshd, "--label", "tenant=acme", "--label", "stage=live") == ["a"]


@pytest.mark.usefixtures("labelled")
def test_a_file_without_the_column_keeps_labels_and_an_empty_object_takes_them_away(
    refreshd: Refreshd, file: File
) -> None:
    refreshd("accounts", "import", str(file(acme("a"), acme("b", labels={}))))
    assert ids(refreshd, "--label", "tenant=acme") == ["a"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"labels": "acme"}, "labels"),
        ({"labels": ["acme"]}, "labels"),
        ({"labels": {"a b": "x"}}, "labels"),
        ({"labels": {"tenant": "a b"}}, "labels"),
        ({"labels": {"tenant": {"x": 1}}}, "labels"),
        ({"labels.a b": "x"}, "labels.a b"),
        ({"labels.tenant": "x" * 129}, "labels.tenant"),
        ({"labels": {f"n{number}": "x" for number in range(17)}}, "labels"),
    ],
)
def test_a_wrong_label_is_an_error_of_its_row(
    refreshd: Refreshd, file: File, fields: dict[str, object], wrong: str
) -> None:
    ran = refreshd("accounts", "import", str(file(acme("a", **fields), acme("b"))), "--json").json
    assert [(error["account"], error["field"]) for error in ran["errors"]] == [("a", wrong)]
    assert ran["added"] == 1


@pytest.mark.usefixtures("labelled")
def test_an_export_may_have_the_accounts_of_a_label_alone(refreshd: Refreshd) -> None:
    exported = refreshd("accounts", "export", "--label", "tenant=acme", "--label", "stage=live").lines
    assert [line["id"] for line in exported] == ["a"]
    assert refreshd("audit", "--json").lines[-1]["detail"]["labels"] == ["tenant=acme", "stage=live"]
