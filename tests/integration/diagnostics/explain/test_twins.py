"""`explain` and `doctor` on accounts that have the same grant: named, whoever of them was refreshed meanwhile."""

from __future__ import annotations

from models.tables.account import fingerprint
from models.token import Secret
from tests.integration.conftest import Bench
from tests.integration.diagnostics.explain.desk import AccountServices, answer
from tests.integration.refresh.test_refresher import granted
from worker.context import AppContext
from worker.diagnostics.doctor import CheckResult, Level, run_checks
from worker.settings import Settings

SHARED = fingerprint(Secret("old-refresh"))


def found(settings: Settings) -> list[CheckResult]:
    here = AppContext(settings)
    try:
        return [one for one in run_checks(here, lambda: None) if one.check == "shared grants"]
    finally:
        here.close()


def test_explain_names_the_twin_that_spent_the_refresh_token(desk: AccountServices) -> None:
    for account in ("acct", "twin"):
        desk.bench.add(account, source_fp=SHARED)
    desk.bench.answer = granted
    desk.bench.refresh("twin")
    desk.bench.answer = answer(400, {"error": "invalid_grant"})
    desk.bench.refresh("acct")

    cause, shown = desk.first()

    assert cause == "shared_grant"
    assert "twin (active)" in shown
    assert "`refreshd accounts authorize acct`" in shown
    assert "Another program" not in shown


def test_explain_names_no_account_of_another_client(desk: AccountServices) -> None:
    desk.good(source_fp=SHARED)
    desk.bench.add("stranger", source_fp=SHARED, client_id="another")
    assert desk.first()[0] == ""


def test_doctor_names_those_that_have_one_token_or_were_given_one(bench: Bench, settings: Settings) -> None:
    for account in ("a", "b"):
        bench.add(account, refresh_token="one")
    for account in ("c", "d", "e"):
        bench.add(account, refresh_token=f"rotated-{account}", source_fp=SHARED)
    bench.add("f", refresh_token="one", client_id="another")
    bench.add("g", refresh_token="its-own")

    warnings = found(settings)

    assert [one.level for one in warnings] == [Level.WARNING] * 2
    assert warnings[0].message.startswith("a (active), b (active) of acme have the same refresh token")
    assert warnings[1].message.startswith("c (active), d (active), e (active) of acme")
    assert "`refreshd accounts authorize b`" in warnings[0].hint


def test_doctor_says_nothing_of_accounts_with_grants_of_their_own(bench: Bench, settings: Settings) -> None:
    for account in ("a", "b"):
        bench.add(account, refresh_token=f"of-{account}")
    assert found(settings) == []


def test_what_doctor_says_is_bounded(bench: Bench, settings: Settings) -> None:
    for grant in range(12):
        for number in range(7 if grant == 0 else 2):
            bench.add(f"acct-{grant:02}-{number}", refresh_token=f"grant-{grant}", source_fp=f"grant {grant}")
    warnings = found(settings)
    assert len(warnings) == 11
    assert any("acct-00-4 (active) and 2 more of acme" in one.message for one in warnings)
    assert warnings[-1].message == "... and 2 more, at least"
