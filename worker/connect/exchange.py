"""A worker's part of Connect: a session's code is exchanged for a grant, and the grant stored with the session's end.

The code is taken once: by the request's own mark in Redis, and by the session's step from `returned` to `exchanging`. A
worker that ends in between leaves a session that fails by itself. The account is there already, and its grant is replaced
as by anybody who consents again; or it is made, with the client and the labels of the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from models.event import Event, EventType
from models.providers import GrantType
from models.refresh_request import RefreshRequest
from models.tables.account import Account
from models.tables.audit import Action
from models.tables.connect_session import ACCOUNT_REMOVED, ConnectSession
from models.token import Secret, TokenResponse
from worker.accounts.apply import Applied
from worker.accounts.editor import AlreadyThere
from worker.accounts.entry import AccountEntry, Problem, RowRefused
from worker.accounts.grants.authorization import tokens_of, with_grant
from worker.accounts.grants.replacement import Grant, GrantOutcome, GrantStore, Moved, StoredGrant
from worker.accounts.values import printable
from worker.connect import reasons
from worker.connect.asked import Asked, NotConnected, asked_of, check_visible
from worker.connect.preparing import DETAIL_MAX, called
from worker.connect.reasons import ConnectReason
from worker.db.intake.connect_sessions import ConnectSessions
from worker.db.outbox import put
from worker.errors import DatabaseUnreachable, RefreshdError, UnknownAccount
from worker.intake.carry_out import Desk, NotFound, handles, payload_of
from worker.intake.parked_grants import park
from worker.intake.requests import Code, IntakeRequest, Op, Reply
from worker.log import log
from worker.policy.reasons.done import CONSENT_GIVEN
from worker.policy.verdicts.verdict import judge
from worker.providers.authorization import Asking, code_request, scope_of
from worker.providers.request.dpop import check_key
from worker.providers.request.draft import InvalidRequest

#: An account that is refreshed every second still holds still between two tries.
_TRIES: Final = 20


class CodePayload(BaseModel):
    """What the browser brought, and the verifier that proves whose question it answers."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    session: str
    code: str = Field(repr=False)
    verifier: str = Field(repr=False)
    #: What else the redirect said.
    parameters: dict[str, str] = Field(default_factory=dict, repr=False)


@handles(Op.EXCHANGE_CODE, asks_provider=True)
def exchange_code(desk: Desk, request: IntakeRequest) -> Reply:
    """Exchange a session's code, and store the grant."""
    payload = payload_of(request, CodePayload)
    stores = desk.tools.stores
    sessions = ConnectSessions(stores.engine, exchange_s=stores.settings.claim_seconds)
    session = sessions.find(payload.session)
    if session is None:
        raise NotFound("there is no such session")
    if sessions.claim(session.id):
        _carried_through(_Exchange(desk, request, sessions, session), payload)
    return _reply(sessions.find(session.id) or session)


def _carried_through(exchange: _Exchange, payload: CodePayload) -> None:
    """Bring a session to its end, whatever happens."""
    session, sessions = exchange.session, exchange.sessions
    try:
        outcome = exchange.run(payload)
    except NotConnected as failed:
        detail = None if failed.detail is None else printable(failed.detail)[:DETAIL_MAX]
        log.info(
            "connect", account=session.account, outcome="failed", reason=str(failed.reason), detail=detail
        )
        sessions.failed(session.id, str(failed.reason), detail)
    except BaseException:
        with suppress(RefreshdError):  # a database that is away: the session ends by itself
            sessions.failed(session.id, str(reasons.INTERRUPTED), None)
        raise
    else:
        log.info("connect", account=session.account, outcome=outcome.value)


def _reply(session: ConnectSession) -> Reply:
    result = {"session": session.id, "status": session.status, "reason": session.reason}
    return Reply(code=Code.DONE, result=result)


class _Exchange(Struct, frozen=True):
    """One exchange."""

    desk: Desk
    asked: IntakeRequest
    sessions: ConnectSessions
    session: ConnectSession

    def run(self, payload: CodePayload) -> GrantOutcome:
        """Exchange and store.

        Raises:
            NotConnected: there is no grant, or it can't be stored.
        """
        services, session = self.desk.services, self.session
        asked = asked_of(self.desk, self.sessions, session)
        entry, request = asked.entry, asked.request
        told = {
            field: Secret(payload.parameters[name])
            for name, field in request.provider.redirect_fields.items()
            if name in payload.parameters
        }
        entry.custom_fields |= told
        request = replace(request, custom_fields={**request.custom_fields, **told})
        issued_at = services.stores.clock.now()
        asking = Asking(session.redirect_uri, "", Secret(payload.verifier))
        granted = self._granted(request, code_request(request, asking, payload.code))
        try:
            return self._store(replace(asked, request=request), granted, issued_at)
        except RowRefused as refused:
            raise NotConnected(_reason_of(refused.problems, granted), str(refused)) from None
        except UnknownAccount:
            raise NotConnected(reasons.NOT_STORED, ACCOUNT_REMOVED) from None
        except Moved as error:
            raise NotConnected(reasons.NOT_STORED, str(error)) from None

    def _granted(self, request: RefreshRequest, exchange: RefreshRequest) -> TokenResponse:
        answer = called(self.desk.tools, exchange)
        if (granted := tokens_of(answer)) is not None:
            return granted
        judged = judge(answer, request.provider.error_rules)
        words = ": ".join(filter(None, (answer.error or judged.reason, answer.error_description)))
        raise NotConnected(reasons.reason_of_verdict(judged.verdict), words)

    def _store(self, asked: Asked, granted: TokenResponse, issued_at: float) -> GrantOutcome:
        entry, request = asked.entry, asked.request
        asked_scope = scope_of(request)
        if asked.account is None:
            if granted.refresh_token is None and request.provider.grant is GrantType.REFRESH_TOKEN:
                raise NotConnected(reasons.NO_REFRESH_TOKEN, None)
            whole = with_grant(entry, granted, asked_scope=asked_scope, issued_at=issued_at)
            with suppress(AlreadyThere):  # made by somebody else while the customer consented
                return self._add(whole)
            account = self.desk.services.editor.account(entry.id)
            check_visible(account, self.asked.require_labels)
            asked = replace(asked, account=account, client=account.client)
        return self._replace(asked, replace(granted, scope=granted.scope or asked_scope), issued_at)

    def _add(self, entry: AccountEntry) -> GrantOutcome:
        """Make the account."""
        services = self.desk.services
        events: list[Event] = []

        def note(connection: Connection, applied: Applied) -> None:
            events[:] = [self._connected(applied.account)]
            told = services.stores.settings.webhook_event_types
            put(connection, [event for event in events if event.type in told])
            self._end(connection, GrantOutcome.CONNECTED, applied.account.generation)

        services.editor.add(entry, Action.AUTHORIZE, also=note, consented_at=self.asked.sent_at)
        services.publisher.put([], events)
        return GrantOutcome.CONNECTED

    def _connected(self, account: Account) -> Event:
        return Event(
            type=EventType.CONNECTED.value,
            reason=CONSENT_GIVEN,
            at=self.desk.services.stores.clock.now(),
            account=account.id,
            generation=account.generation,
            labels=account.labels,
        )

    def _replace(self, asked: Asked, granted: TokenResponse, issued_at: float) -> GrantOutcome:
        """Give the account that is there its new grant; its settings stay, but for the client and what came along."""
        services, stores = self.desk.services, self.desk.services.stores
        entry = asked.entry
        entry.of_the_token.clear()
        entry.labels, entry.all_labels = {}, False  # those of the session are of an account that it makes

        def check(_: Account, grant: Grant) -> Sequence[Problem]:
            return _key_problems(replace(asked.request, access_token=grant.tokens.access_token))

        store = GrantStore(
            engine=stores.engine,
            sealer=stores.sealer,
            providers=stores.providers,
            clock=stores.clock,
            told=stores.settings.webhook_event_types,
            check_key=check,
        )
        grant = Grant(
            account=entry.id,
            tokens=granted,
            issued_at=issued_at,
            actor=self.asked.by,
            require_labels=self.asked.require_labels,
            consented_at=self.asked.sent_at,
            also=self._end,
        )
        try:
            stored = self._stored_with(store, entry, grant)
        except (DatabaseUnreachable, Moved) as error:
            if self._parked(grant, asked, issued_at):
                raise NotConnected(reasons.STORED_LATER, str(error)) from None
            raise
        services.publisher.put([stored.publication], stored.events)
        return stored.outcome

    def _parked(self, grant: Grant, asked: Asked, issued_at: float) -> bool:
        """Park a grant for its account's next refresh; False: it can't be, or another client would use it then."""
        if asked.account is None or grant.tokens.refresh_token is None or asked.client != self.session.client:
            return False
        return park(self.desk.services.stores, grant, asked.account, sent=None, at=issued_at)

    def _stored_with(self, store: GrantStore, entry: AccountEntry, grant: Grant) -> StoredGrant:
        """Store a grant together with what an entry changes of its account: both, or neither."""
        for _ in range(_TRIES):
            configure = self.desk.services.editor.prepared(entry)
            with suppress(Moved):
                return store.store_one(replace(grant, configure=configure))
        raise Moved("the account changed again and again meanwhile")

    def _end(self, connection: Connection, outcome: GrantOutcome, generation: int) -> None:
        """Note the session's end beside its grant.

        Raises:
            UnknownAccount: the session ended with an account that was removed; the one of this id is another, and stays.
        """
        ours = self.sessions.stored(connection, self.session.id, outcome=outcome.value, generation=generation)
        if not ours:
            raise UnknownAccount(self.session.account)


def _key_problems(request: RefreshRequest) -> list[Problem]:
    try:
        check_key(request)
    except InvalidRequest as error:
        field_name, _, reason = str(error).partition(": ")
        return [Problem(field_name, reason)]
    return []


def _reason_of(problems: Sequence[Problem], granted: TokenResponse) -> ConnectReason:
    """Return why a grant could not be stored."""
    if any(one.field == "refresh_token" for one in problems):
        return reasons.NO_REFRESH_TOKEN if granted.refresh_token is None else reasons.GRANT_IN_USE
    return reasons.NOT_STORED
