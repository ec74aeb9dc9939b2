"""The steps of a Connect session, all of them: which status takes which step, and where it leads."""

from __future__ import annotations

import pytest

from models.tables.connect_session import ENDED, NEXT, OUT_OF_TIME, ConnectSession, ConnectStatus, Step, may

S = ConnectStatus
#: A row a status: where BEGIN, RETURN, REFUSE, GIVE_UP, CLAIM, STORE, FAIL, END and ORPHAN lead; None: nowhere.
TABLE = {
    S.OPEN: (S.STARTED, None, None, None, None, None, None, S.FAILED, S.FAILED),
    S.STARTED: (S.STARTED, S.RETURNED, S.FAILED, None, None, None, None, S.FAILED, S.FAILED),
    S.RETURNED: (None, None, None, S.FAILED, S.EXCHANGING, None, None, S.FAILED, S.FAILED),
    S.EXCHANGING: (None, None, None, None, None, S.CONNECTED, S.FAILED, S.FAILED, S.FAILED),
    S.CONNECTED: (None, None, None, None, None, None, None, None, None),
    S.FAILED: (None, None, None, None, None, S.CONNECTED, None, None, S.FAILED),
}


@pytest.mark.parametrize("status", list(S))
def test_each_status_takes_the_steps_of_the_table(status: ConnectStatus) -> None:
    assert tuple(NEXT[step].get(status) for step in Step) == TABLE[status]
    assert [may(step, status) for step in Step] == [after is not None for after in TABLE[status]]


def test_every_status_that_is_not_the_last_ends_by_time_with_a_reason() -> None:
    assert set(OUT_OF_TIME) == set(S) - ENDED == set(NEXT[Step.END])


def session(status: ConnectStatus) -> ConnectSession:
    return ConnectSession(
        id="one", account="a", provider="p", client="c", return_url="https://app.example/", redirect_uri="", page="{}",
        actor="key", status=status.value, ends_at=100.0,
    )  # fmt: skip


@pytest.mark.parametrize("status", sorted(OUT_OF_TIME))
def test_a_session_whose_time_is_over_has_failed(status: ConnectStatus) -> None:
    assert session(status).at(99.9).status == status
    late = session(status).at(100.0)
    assert (late.status, late.reason) == (S.FAILED, OUT_OF_TIME[status])


@pytest.mark.parametrize("status", sorted(ENDED))
def test_a_session_that_has_ended_stays_as_it_is(status: ConnectStatus) -> None:
    assert session(status).at(1e9).status == status
