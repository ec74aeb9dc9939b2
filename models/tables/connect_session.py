"""A Connect session: one customer's way from a button to a grant, by way of the provider's consent page.

Which status follows which is `NEXT`; the SQL of `worker/db/intake/connect_sessions.py` asks it, and has no rule of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sqlalchemy import Column, Float, Index, Text
from sqlmodel import Field, SQLModel


class ConnectStatus(StrEnum):
    """What has become of a session."""

    #: Waiting for its customer.
    OPEN = "open"
    #: A browser was sent to the provider.
    STARTED = "started"
    #: The browser brought a code, which waits for a worker.
    RETURNED = "returned"
    #: A worker exchanges the code.
    EXCHANGING = "exchanging"
    CONNECTED = "connected"
    FAILED = "failed"


class Step(StrEnum):
    """What happens to a session."""

    #: The customer presses the button.
    BEGIN = "begin"
    #: The provider sends the browser back with a code.
    RETURN = "return"
    #: The provider sends the browser back without one, or to the wrong place.
    REFUSE = "refuse"
    #: The code can't be brought to a worker.
    GIVE_UP = "give_up"
    #: A worker takes the code.
    CLAIM = "claim"
    #: The grant is stored.
    STORE = "store"
    #: The code brought no grant, or one that could not be stored.
    FAIL = "fail"
    #: The time for what comes next is over.
    END = "end"
    #: The account is removed: one of the same id may be somebody else's.
    ORPHAN = "orphan"


_S: Final = ConnectStatus
#: Step -> from which status to which. A session moves on by no other step, and by each at most once, but for BEGIN:
#: a button may be pressed twice.
NEXT: Final[Mapping[Step, Mapping[ConnectStatus, ConnectStatus]]] = {
    Step.BEGIN: {_S.OPEN: _S.STARTED, _S.STARTED: _S.STARTED},
    Step.RETURN: {_S.STARTED: _S.RETURNED},
    Step.REFUSE: {_S.STARTED: _S.FAILED},
    Step.GIVE_UP: {_S.RETURNED: _S.FAILED},
    Step.CLAIM: {_S.RETURNED: _S.EXCHANGING},
    # A worker that was given up on may still have the grant: then the session has it.
    Step.STORE: {_S.EXCHANGING: _S.CONNECTED, _S.FAILED: _S.CONNECTED},
    Step.FAIL: {_S.EXCHANGING: _S.FAILED},
    Step.END: {_S.OPEN: _S.FAILED, _S.STARTED: _S.FAILED, _S.RETURNED: _S.FAILED, _S.EXCHANGING: _S.FAILED},
    # One that was given up on as well: its worker may still have the grant.
    Step.ORPHAN: {
        _S.OPEN: _S.FAILED,
        _S.STARTED: _S.FAILED,
        _S.RETURNED: _S.FAILED,
        _S.EXCHANGING: _S.FAILED,
        _S.FAILED: _S.FAILED,
    },
}
#: A session that ended without a worker's word. `INTERRUPTED` alone may still become connected.
EXPIRED: Final = "expired"
NO_WORKER: Final = "no_worker"
INTERRUPTED: Final = "interrupted"
#: A session that ended with its account, and what is said of it.
NOT_STORED: Final = "not_stored"
ACCOUNT_REMOVED: Final = "the account was removed meanwhile"
#: Status in which the time ran out -> the reason.
OUT_OF_TIME: Final = {
    _S.OPEN: EXPIRED,
    _S.STARTED: EXPIRED,
    _S.RETURNED: NO_WORKER,
    _S.EXCHANGING: INTERRUPTED,
}
#: Statuses that are the last.
ENDED: Final = frozenset({_S.CONNECTED, _S.FAILED})


class ConnectSession(SQLModel, table=True):
    """One row of `connect_session`. Times are epoch seconds (UTC) of the database's clock.

    No code and no verifier is ever stored: the code goes to a worker sealed, and the verifier is derived from a key that
    only the customer's browser has.
    """

    __tablename__ = "connect_session"
    __table_args__ = (
        Index("ix_connect_session_state", "state_hash", unique=True),
        Index("ix_connect_session_ends_at", "ends_at"),
    )

    #: Random: whoever knows it may open the session's page.
    id: str = Field(primary_key=True)
    account: str = Field(max_length=128)
    provider: str
    #: The client's name.
    client: str = Field(max_length=128)
    scope: str | None = None
    #: JSON object: the labels of an account that is made, and by which API keys see the session.
    labels: str = Field(default="{}", sa_type=Text)
    #: JSON object: the labels that the API key's accounts have; the account that is connected has to have them.
    key_labels: str = Field(default="{}", sa_type=Text)
    #: JSON object name -> value of the account, sealed as a whole for workers.
    custom_fields_sealed: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    return_url: str = Field(sa_type=Text)
    redirect_uri: str = Field(sa_type=Text)
    #: JSON object: the provider's consent page, but for the values of one question, and what its `iss` must be.
    page: str = Field(sa_type=Text)
    #: The API key that opened it.
    actor: str

    status: str = ConnectStatus.OPEN
    reason: str | None = None
    #: What the provider, or the row's check, said; never a secret.
    detail: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    #: How the account came to its grant: `connected` or `reconnected`.
    outcome: str | None = None
    generation: int | None = None
    #: Hashes of the state that the browser has to bring back, and of the browser's own key.
    state_hash: str | None = None
    browser_hash: str | None = None

    created_at: float = Field(default=0.0, sa_type=Float)
    #: Until when it may be begun.
    expires_at: float = Field(default=0.0, sa_type=Float)
    #: When the time for its next step is over; when it ended, once it has.
    ends_at: float = Field(default=0.0, sa_type=Float)
    started_at: float | None = Field(default=None, sa_type=Float)

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def label_set(self) -> dict[str, str]:
        """Return the labels."""
        labels: dict[str, str] = json.loads(self.labels)
        return labels

    @property
    def key_label_set(self) -> dict[str, str]:
        """Return the labels that the API key's accounts have."""
        labels: dict[str, str] = json.loads(self.key_labels)
        return labels

    def at(self, now: float) -> ConnectSession:
        """Return the session as it is at this moment: one whose time is over has failed, whether that is stored or not."""
        if self.has_ended or now < self.ends_at:
            return self
        reason = OUT_OF_TIME[ConnectStatus(self.status)]
        return self.model_copy(update={"status": ConnectStatus.FAILED.value, "reason": reason})


def may(step: Step, status: str) -> bool:
    """Return whether a session of this status takes a step."""
    return ConnectStatus(status) in NEXT[step]
