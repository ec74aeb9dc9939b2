"""What a worker makes of a session: the account as the session wants it, and the request that its consent is asked with."""

from __future__ import annotations

import json
from collections.abc import Mapping

from msgspec import Struct

from models.refresh_request import RefreshRequest
from models.tables.account import Account
from models.tables.connect_session import ConnectSession
from models.token import Secret
from worker.accounts.configuration import KnownClients
from worker.accounts.entry import AccountEntry, RowRefused, read_entry
from worker.accounts.grants.authorization import request_of
from worker.connect import reasons
from worker.connect.opening import SEALED_AS
from worker.connect.reasons import ConnectReason
from worker.connect.redirect import SessionPage
from worker.db.intake.connect_sessions import ConnectSessions
from worker.intake.carry_out import Desk
from worker.providers.registry import ISSUER


class NotConnected(Exception):
    """The session has failed, for this reason."""

    def __init__(self, reason: ConnectReason, detail: str | None) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.detail = detail


class Asked(Struct, frozen=True):
    """A session's account, None where it is new, what becomes of it, and how it is asked for."""

    account: Account | None
    entry: AccountEntry
    request: RefreshRequest
    #: The client that the account names until the session's grant is stored.
    client: str | None = None


def check_visible(account: Account | None, require_labels: Mapping[str, str]) -> None:
    """Check again that the API key of a session sees the account: it may be another one's since.

    Raises:
        NotConnected: it does not.
    """
    if account is not None and not require_labels.items() <= account.label_set.items():
        raise NotConnected(reasons.NOT_STORED, "the account belongs to others")


def asked_of(desk: Desk, sessions: ConnectSessions, session: ConnectSession) -> Asked:
    """Return what a session's consent is asked with, and its code exchanged.

    Raises:
        NotConnected: its client or its account can't be asked for like that.
    """
    services = desk.services
    account = services.accounts.find([session.account]).get(session.account)
    check_visible(account, services.require_labels)
    client = None if account is None else account.client
    try:
        entry = _entry(desk, sessions, session, account)
        request = request_of(
            entry,
            account,
            sealer=services.stores.sealer,
            checker=services.checker,
            clients=KnownClients(lambda: services.stores.clients),
        )
    except RowRefused as refused:
        raise NotConnected(reasons.MISCONFIGURED, str(refused)) from None
    return Asked(account, entry, request, client)


def _entry(
    desk: Desk, sessions: ConnectSessions, session: ConnectSession, account: Account | None
) -> AccountEntry:
    """Return what a session says of its account; one that is there keeps its labels."""
    row: dict[str, object] = {"id": session.account, "client": session.client, "scope": session.scope}
    if account is None:
        row["labels"] = session.label_set
    if session.provider == ISSUER:
        row |= SessionPage.of_text(session.page).knobs
    entry = read_entry(row)
    sealed = sessions.custom_fields(session.id)
    if sealed is not None:
        plain = desk.tools.stores.cipher.open(sealed, account=session.account, field=SEALED_AS)
        entry.custom_fields |= {name: Secret(text) for name, text in json.loads(plain.reveal()).items()}
    return entry
