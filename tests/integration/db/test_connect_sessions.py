"""Connect sessions in the database: each step is taken once, in time and from where it may be taken."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, text

from models.tables.connect_session import EXPIRED, INTERRUPTED, NO_WORKER, ConnectSession, ConnectStatus
from worker.db.engine import writing
from worker.db.intake.connect_sessions import CONSENT_S, KEPT_S, ConnectSessions

STATUS = ConnectStatus


@pytest.fixture
def sessions(engine: Engine) -> ConnectSessions:
    return ConnectSessions(engine, exchange_s=45)


def new(session_id: str = "one", **columns: Any) -> ConnectSession:
    given: dict[str, Any] = {
        "account": "acct-1",
        "provider": "acme",
        "client": "crm",
        "return_url": "https://app.example/back",
        "redirect_uri": "https://api.example/connect/callback",
        "page": "{}",
        "actor": "portal",
    }
    return ConnectSession(id=session_id, **given | columns)


def status_of(sessions: ConnectSessions, session_id: str = "one") -> tuple[str, str | None]:
    found = sessions.find(session_id)
    assert found is not None
    return found.status, found.reason


def begun(sessions: ConnectSessions, session_id: str = "one") -> bool:
    return sessions.begin(session_id, state_hash=f"state of {session_id}", browser_hash="browser")


def store(engine: Engine, sessions: ConnectSessions) -> bool:
    with writing(engine) as connection:
        return sessions.stored(connection, "one", outcome="connected", generation=1)


def over(engine: Engine, by_s: float = 1.0) -> None:
    """Let the time for each session's next step be over."""
    with writing(engine) as connection:
        connection.execute(text("UPDATE connect_session SET ends_at = created_at - :by_s"), {"by_s": by_s})


def test_a_session_comes_back_as_it_was_stored(sessions: ConnectSessions) -> None:
    stored = sessions.add(
        new(scope="a b", labels='{"tenant": "acme"}', custom_fields_sealed="h1.k.x"), for_s=60
    )

    assert stored.expires_at == stored.ends_at == pytest.approx(stored.created_at + 60)
    assert stored.custom_fields_sealed is None
    assert sessions.custom_fields("one") == "h1.k.x"
    assert (stored.scope, stored.label_set) == ("a b", {"tenant": "acme"})
    assert sessions.find("another") is None


def test_the_way_to_a_grant(engine: Engine, sessions: ConnectSessions) -> None:
    sessions.add(new(), for_s=60)
    seen = [status_of(sessions)[0]]
    steps: list[Callable[[], bool]] = [
        lambda: begun(sessions),
        lambda: sessions.returned("one"),
        lambda: sessions.claim("one"),
        lambda: store(engine, sessions),
    ]
    for step in steps:
        assert step()
        seen.append(status_of(sessions)[0])

    assert seen == [STATUS.OPEN, STATUS.STARTED, STATUS.RETURNED, STATUS.EXCHANGING, STATUS.CONNECTED]
    found = sessions.find_by_state("state of one")
    assert found is not None
    assert (found.outcome, found.generation) == ("connected", 1)


def test_a_code_is_taken_once_however_many_bring_it(sessions: ConnectSessions) -> None:
    sessions.add(new(), for_s=60)
    begun(sessions)
    together = Barrier(4)

    def bring(_: int) -> bool:
        together.wait()
        return sessions.returned("one")

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(bring, range(4))) == [False, False, False, True]
    assert sessions.claim("one")
    assert not sessions.claim("one")


def test_a_session_stays_with_the_browser_that_began_it(sessions: ConnectSessions) -> None:
    sessions.add(new(), for_s=60)

    assert begun(sessions)
    assert begun(sessions)
    assert not sessions.begin("one", state_hash="other", browser_hash="another browser")
    assert sessions.find_by_state("other") is None


def test_a_session_that_is_begun_late_leaves_time_to_consent_once(
    sessions: ConnectSessions,
) -> None:
    added = sessions.add(new(), for_s=60)
    begun(sessions)
    first = sessions.find("one")
    begun(sessions)
    second = sessions.find("one")

    assert first is not None
    assert second is not None
    assert first.ends_at > added.ends_at
    assert first.ends_at == pytest.approx(first.started_at + CONSENT_S)  # type: ignore[operator]
    assert second.ends_at == first.ends_at


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((), EXPIRED),
        ((begun,), EXPIRED),
        ((begun, lambda sessions: sessions.returned("one")), NO_WORKER),
        (
            (begun, lambda sessions: sessions.returned("one"), lambda sessions: sessions.claim("one")),
            INTERRUPTED,
        ),
    ],
)
def test_a_session_ends_by_itself_wherever_it_is(
    engine: Engine,
    sessions: ConnectSessions,
    steps: tuple[Callable[[ConnectSessions], bool], ...],
    reason: str,
) -> None:
    sessions.add(new(), for_s=60)
    for step in steps:
        assert step(sessions)
    over(engine)

    assert status_of(sessions) == (STATUS.FAILED, reason)
    assert not begun(sessions)
    assert not sessions.returned("one")
    assert not sessions.claim("one")
    assert sessions.end_overdue() == 1
    assert sessions.end_overdue() == 0
    assert status_of(sessions) == (STATUS.FAILED, reason)


@pytest.mark.parametrize("noted", [False, True])
def test_a_worker_that_was_given_up_on_may_still_bring_the_grant(
    engine: Engine, sessions: ConnectSessions, *, noted: bool
) -> None:
    sessions.add(new(), for_s=60)
    assert begun(sessions)
    assert sessions.returned("one")
    assert sessions.claim("one")
    over(engine)
    if noted:
        sessions.end_overdue()

    assert store(engine, sessions)
    assert status_of(sessions) == (STATUS.CONNECTED, None)


def test_a_session_that_failed_by_a_worker_s_word_stays_failed(
    engine: Engine, sessions: ConnectSessions
) -> None:
    sessions.add(new(), for_s=60)
    begun(sessions)
    sessions.returned("one")
    sessions.claim("one")

    assert sessions.failed("one", "code_refused", "expired")
    assert not store(engine, sessions)
    assert status_of(sessions) == (STATUS.FAILED, "code_refused")


def test_a_refusal_ends_a_session_that_was_begun_and_no_other(sessions: ConnectSessions) -> None:
    sessions.add(new(), for_s=60)

    assert not sessions.refused("one", "refused", None)
    begun(sessions)
    assert sessions.refused("one", "refused", "access_denied")
    assert not sessions.refused("one", "refused", None)
    assert status_of(sessions) == (STATUS.FAILED, "refused")


def test_a_code_that_reaches_no_worker_ends_its_session_unless_one_has_it(sessions: ConnectSessions) -> None:
    for name in ("one", "two"):
        sessions.add(new(name), for_s=60)
        begun(sessions, name)
        sessions.returned(name)
    sessions.claim("two")

    assert sessions.given_up("one", NO_WORKER)
    assert not sessions.given_up("two", NO_WORKER)
    assert status_of(sessions) == (STATUS.FAILED, NO_WORKER)
    assert status_of(sessions, "two") == (STATUS.EXCHANGING, None)


def test_sessions_that_ended_long_ago_are_pruned(engine: Engine, sessions: ConnectSessions) -> None:
    for name in ("old", "new"):
        sessions.add(new(name), for_s=60)
    with writing(engine) as connection:
        connection.execute(
            text("UPDATE connect_session SET ends_at = ends_at - :long WHERE id = 'old'"),
            {"long": KEPT_S + 120},
        )

    assert sessions.prune() == 1
    assert sessions.find("old") is None
    assert sessions.find("new") is not None
