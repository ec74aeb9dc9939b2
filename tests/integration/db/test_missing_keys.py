"""A worker that starts with a key makes those accounts due that waited for it, and no others."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.crypto.cipher import generate_key
from worker.db.engine import writing
from worker.db.planning.missing_keys import wake
from worker.settings import Settings

OTHER = generate_key("other")


def due_in_s(bench: Bench, account: str) -> float:
    row = bench.account(account)
    assert row.next_refresh_at is not None
    return row.next_refresh_at - bench.runtime.clock.now()


def test_accounts_that_lacked_a_key_are_due_once_a_worker_starts_with_it(
    bench: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.db.planning.missing_keys.BATCH", 2)
    ids = ["a", "b", "of-a-client", "paused"]
    bench.add_client("crm")
    for one in ids:
        bench.add(one, **({"client": "crm", "client_secret_sealed": None} if one == "of-a-client" else {}))
    lacks = Bench(Settings(**(settings.model_dump() | {"keys": SecretStr(OTHER)})))
    try:
        results = lacks.refresh(*ids)
    finally:
        lacks.runtime.close()
    assert {one.reason for one in results.values()} == {"key_missing"}
    with writing(bench.runtime.engine) as connection:
        connection.execute(text("UPDATE account SET plan_at = NULL WHERE id = 'paused'"))
    engine, mine = bench.runtime.engine, bench.runtime.cipher.key_ids
    assert min(due_in_s(bench, one) for one in ids) > 0

    assert wake(engine, ["other"]) == 0
    assert wake(engine, [*mine, "other"]) == 3
    assert wake(engine, mine) == 0

    assert max(due_in_s(bench, one) for one in ("a", "b", "of-a-client")) <= 0
    assert due_in_s(bench, "paused") > 0
    bench.answer = granted
    bench.refresh("a")
    assert bench.account("a").status == "active"
