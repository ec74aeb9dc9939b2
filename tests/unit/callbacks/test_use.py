"""What a person is told of callbacks that accounts name and no running worker knows."""

from __future__ import annotations

from worker.callbacks.catalog import CallbackCatalog, Offered
from worker.callbacks.usage import NO_CATALOG, Use, lacking, lines_of

OFFERS = {"callback@a": CallbackCatalog({"acme": Offered("python", "acme.py:3")})}


def test_what_the_workers_do_know_is_said_once() -> None:
    used = [Use("acme", 2, "acct-1"), Use("acne", 1, "acct-2"), Use("other", 3, "acct-3")]
    assert lines_of(lacking(used, OFFERS)) == [
        "account acct-2: no callback 'acne'; did you mean 'acme'? known: acme",
        "3 accounts (acct-3, ...): no callback 'other'",
    ]


def test_where_no_worker_has_said_anything_it_is_one_line() -> None:
    used = [Use(f"callback-{n}", 1, f"acct-{n}") for n in range(7)]
    (line,) = lines_of(lacking(used, {}))
    assert line.startswith(NO_CATALOG)
    assert line.endswith("callback-4 (account acct-4) and 2 more")


def test_where_nothing_is_missing_nothing_is_said() -> None:
    assert lines_of(lacking([Use("acme", 1, "acct")], OFFERS)) == []
