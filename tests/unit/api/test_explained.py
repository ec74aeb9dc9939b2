"""Advice of `explain` in an answer of the API: the call stands beside the command."""

from __future__ import annotations

from typing import Any

from worker.api.explained import with_calls


def page(hint: str) -> dict[str, Any]:
    return {"account": "acct-1", "findings": [{"cause": "c", "message": "m", "hint": hint, "remedy": hint}]}


def test_a_refresh_is_named_as_the_call_that_does_it() -> None:
    [finding] = with_calls(page("`refreshd refresh acct-1 --force --wait` finds out."))["findings"]
    expected = (
        "`refreshd refresh acct-1 --force --wait` (here: `POST /v1/accounts/acct-1/refresh`, "
        '`{"force": true, "wait_s": 20}`) finds out.'
    )
    assert finding["hint"] == finding["remedy"] == expected
    [finding] = with_calls(page("or refresh it once: `refreshd refresh acct-1 --force`."))["findings"]
    assert finding["hint"].endswith(
        '`refreshd refresh acct-1 --force` (here: `POST /v1/accounts/acct-1/refresh`, `{"force": true}`).'
    )


def test_other_advice_and_other_accounts_stay_as_they_are() -> None:
    for hint in ("Nothing to do.", "`refreshd resume acct-1`", "`refreshd refresh ACCOUNT --force`"):
        assert with_calls(page(hint)) == page(hint)
