"""A new grant in the place of the stored one: its owner consented, for the first time or again.

Only the account's unsealed columns are read, so a process that can open nothing can store a grant. What is stored always
gives way: whoever consented last is right, and an attempt in flight for the old grant loses by its generation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine

from models.account import Account, SealedTokens, SessionManagement, Status, read_extra
from models.audit import Act, Action, Actor
from models.event import Event, EventType
from models.label import read_labels
from models.providers import GrantType, Provider
from models.publication import Publication, publication
from models.token import Secret, TokenResponse, TokenSet
from worker.accounts.entry import Problem, RowRefused, read_entry
from worker.accounts.twins import SameGrant, TwinGuard
from worker.accounts.values import TOKEN_READERS
from worker.clock import Clock, draw_jitter
from worker.crypto.sealer import TokenSealer, request_of
from worker.db import grants as sql
from worker.db.audit import record
from worker.db.engine import writing
from worker.db.outbox import put
from worker.db.publication import PublicationUpdates, note
from worker.errors import RefreshdError, UnknownAccount
from worker.policy.due import due, expiry, refresh_token_expiry, session_policy, token_times
from worker.policy.reasons.done import CONSENT_GIVEN, CREDENTIALS_REPLACED
from worker.policy.reasons.due import NO_TOKEN_YET
from worker.providers.publishing import Publishable
from worker.providers.registry import Providers
from worker.providers.response import as_texts

#: The fields of a grant; a provider's token response has them by the same names (RFC 6749 section 5.1).
GRANT_FIELDS: Final = (
    "access_token", "refresh_token", "token_type", "scope", "issued_at", "expires_in", "expires_at",
)  # fmt: skip
REFRESH_TOKEN_EXPIRES_IN: Final = "refresh_token_expires_in"
_BEARER: Final = "Bearer"
_DPOP: Final = "dpop"
#: An account that is refreshed every second still holds still between two tries.
_TRIES: Final = 20


class GrantOutcome(StrEnum):
    """What a grant did to its account."""

    #: The account never had a token.
    CONNECTED = "connected"
    #: The account was in trouble, mostly in `reauthorize`: it has a usable token again.
    RECONNECTED = "reconnected"
    #: The account was well, and has another grant now.
    REPLACED = "replaced"


class Moved(RefreshdError):
    """An account changed again and again while its grant was stored."""


class NeedsWorker(RefreshdError):
    """A grant that is checked with stored secrets: only a worker can."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a consent brought, for one account, and who brings it."""

    account: str
    tokens: TokenResponse
    issued_at: float | None
    actor: Actor
    #: The account must have these labels; one that lacks them is unknown.
    require_labels: Mapping[str, str] = field(default_factory=dict)
    #: Everything that came with the tokens; the provider's data says what of it is published.
    response: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Two accounts of one client may have the same refresh token.
    allow_shared: bool = False
    #: Writes beside the grant, in the commit that stores it: the outcome, and the new generation.
    also: Callable[[Connection, GrantOutcome, int], None] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A grant that is stored, and what remains to be published."""

    account: Account
    outcome: GrantOutcome
    publication: Publication
    events: tuple[Event, ...]

    def as_json(self, *, published: bool) -> dict[str, Any]:
        """Return what became of it, as the API and scripts read it."""
        account = self.account
        return {
            "account": account.id,
            "outcome": self.outcome.value,
            "generation": account.generation,
            "status": account.status,
            "expires_at": account.expires_at,
            "next_refresh_at": account.next_refresh_at,
            "published": published,
        }


#: Returns what is wrong with a grant that proves possession of a key, which is among the account's secrets.
CheckKey = Callable[[Account, Grant], Sequence[Problem]]
#: A grant that is stored, or why it is not.
GrantResult = StoredGrant | RefreshdError | RowRefused


def read_grant(
    account_id: str,
    fields: Mapping[str, Any],
    *,
    actor: Actor,
    require_labels: Mapping[str, str] | None = None,
    allow_shared: bool = False,
) -> Grant:
    """Read a grant: a provider's token response, or the same fields by hand. Other fields of it are not looked at.

    Raises:
        RowRefused: with every field that can't be read; the reasons are those of an import.
    """
    entry = read_entry({"id": account_id} | {name: fields[name] for name in GRANT_FIELDS if name in fields})
    if not entry.access_token and not entry.refresh_token:
        raise RowRefused(
            [Problem("access_token", "is missing: a grant has one, or a refresh_token, or both")]
        )
    lifetime_s = fields.get(REFRESH_TOKEN_EXPIRES_IN)
    try:
        refresh_s = None if lifetime_s is None else TOKEN_READERS["expires_in"](lifetime_s)
    except ValueError as error:
        raise RowRefused([Problem(REFRESH_TOKEN_EXPIRES_IN, str(error))]) from None
    tokens = TokenResponse(
        access_token=entry.access_token or Secret(""),
        refresh_token=entry.refresh_token,
        token_type=entry.text("token_type"),
        scope=entry.text("scope"),
        expires_in_s=entry.seconds("expires_in"),
        expires_at=entry.seconds("expires_at"),
        refresh_token_expires_in_s=float(refresh_s) if refresh_s is not None else None,
    )
    return Grant(
        account=entry.id,
        tokens=tokens,
        issued_at=entry.seconds("issued_at"),
        actor=actor,
        require_labels=require_labels or {},
        response=fields,
        allow_shared=allow_shared,
    )


@dataclass(frozen=True, slots=True)
class _Applied:
    """An account with its new grant, as it shall be."""

    account: Account
    seen: int
    outcome: GrantOutcome
    events: tuple[Event, ...]
    new_grants: frozenset[str]


class GrantStore:
    """Stores grants, many in one transaction.

    Args:
        engine: the database.
        sealer: seals tokens; it need not open any.
        providers: the providers of this deployment.
        clock: the database's.
        told: types of events that go to the outbox.
        check_key: checks a grant of `token_type` DPoP; None: such a grant `NeedsWorker`.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        sealer: TokenSealer,
        providers: Providers,
        clock: Clock,
        told: Collection[str],
        check_key: CheckKey | None = None,
    ) -> None:
        self._engine = engine
        self._sealer = sealer
        self._providers = providers
        self._same = SameGrant(providers)
        self._clock = clock
        self._told = told
        self._check_key = check_key

    def store_one(self, grant: Grant) -> StoredGrant:
        """Store a grant.

        Raises:
            UnknownAccount: there is no such account, or it lacks a label that the grant requires.
            RowRefused: it can't be stored; another account has its refresh token, say.
            Moved: the account changed each time between being read and being stored.
            NeedsWorker: it is checked with a key that can't be opened here.
        """
        (stored,) = self.store([grant])
        if isinstance(stored, StoredGrant):
            return stored
        raise stored

    def store(
        self, grants: Sequence[Grant], *, published: Sequence[tuple[str, int]] = ()
    ) -> list[GrantResult]:
        """Store grants; returns what became of each, or why it was not stored. All or nothing holds for each of them.

        Args:
            grants: of any accounts; two of one account are stored one after the other.
            published: (account, generation) pairs that Redis has since, noted in the same commit.

        Raises:
            DatabaseUnreachable: it went away; which of them are stored is unknown.
        """
        done: dict[int, GrantResult] = {}
        for _ in range(_TRIES + len(grants)):
            batch: dict[str, int] = {}
            for number, grant in enumerate(grants):
                if number not in done:
                    batch.setdefault(grant.account, number)
            if not batch:
                break
            done |= self._round({number: grants[number] for number in batch.values()}, published)
            published = ()
        return [done.get(number) or _moved(grant.account) for number, grant in enumerate(grants)]

    def _round(
        self, grants: Mapping[int, Grant], published: Sequence[tuple[str, int]]
    ) -> dict[int, GrantResult]:
        """Store what can be in one transaction; a grant whose account moved on meanwhile is left out of the result."""
        failed: dict[int, RefreshdError | RowRefused] = {}
        applied: dict[int, _Applied] = {}
        with writing(self._engine) as connection:
            if published:
                note(connection, PublicationUpdates(published=published), now="")
            found = sql.read(connection, [one.account for one in grants.values()])
            now = self._clock.now()
            for number, grant in grants.items():
                try:
                    applied[number] = self._apply(grant, found.get(grant.account), now=now)
                except (RowRefused, RefreshdError) as error:
                    failed[number] = error
            for number, problem in self._twins(connection, grants, applied).items():
                del applied[number]
                failed[number] = RowRefused([problem])
            ids = sql.write(connection, [(one.account, one.seen) for one in applied.values()])
            stored = {number: one for number, one in applied.items() if one.account.id in ids}
            self._note(connection, grants, stored)
        return failed | {number: _stored(one, grants[number], now=now) for number, one in stored.items()}

    def _twins(
        self, connection: Connection, grants: Mapping[int, Grant], applied: Mapping[int, _Applied]
    ) -> dict[int, Problem]:
        guarded = {number: one for number, one in applied.items() if not grants[number].allow_shared}
        guard = TwinGuard(self._same, list(guarded.values()), has_turn=True)
        refused = guard(connection)
        return {
            number: guard.problems[one.account.id]
            for number, one in guarded.items()
            if one.account.id in refused
        }

    def _note(
        self, connection: Connection, grants: Mapping[int, Grant], stored: Mapping[int, _Applied]
    ) -> None:
        by_actor: dict[Actor, list[Act]] = {}
        for number, one in stored.items():
            detail = {"outcome": one.outcome.value, "generation": one.account.generation}
            act = Act(Action.GRANT, one.account.id, one.account.provider, detail)
            by_actor.setdefault(grants[number].actor, []).append(act)
            also = grants[number].also
            if also is not None:
                also(connection, one.outcome, one.account.generation)
        for actor, acts in by_actor.items():
            record(connection, actor, acts)
        events = [event for one in stored.values() for event in one.events if event.type in self._told]
        if events:
            put(connection, events)

    def _apply(self, grant: Grant, account: Account | None, *, now: float) -> _Applied:
        if account is None or not grant.require_labels.items() <= read_labels(account.labels).items():
            raise UnknownAccount(grant.account)
        provider = self._providers.for_schedule(account)
        if provider is None:
            raise RowRefused(
                [Problem("provider", f"{account.provider!r} is not known, and the account has no token_url")]
            )
        self._check(grant, account, provider)
        seen, outcome = account.generation, _outcome(account)
        events = _events(account, outcome, now=now)
        kept_fp = account.refresh_fp
        tokens = self._sealer.seal_tokens(account.id, _token_set(grant, account, provider, now=now))
        account.refreshed(tokens, next_refresh_at=None, due_reason="", jitter=draw_jitter(), now=now)
        vars(account)["refresh_token_end_fixed"] = False
        if grant.tokens.refresh_token is None:
            vars(account)["refresh_fp"] = kept_fp
        else:
            vars(account)["source_fp"] = tokens.refresh_fp
        self._plan(account, provider, tokens, now=now)
        return _Applied(
            account=account,
            seen=seen,
            outcome=outcome,
            events=events,
            new_grants=frozenset() if tokens.refresh_fp is None else frozenset({tokens.refresh_fp}),
        )

    def _check(self, grant: Grant, account: Account, provider: Provider) -> None:
        if grant.tokens.refresh_token is None and (problem := _lacks_refresh_token(account, provider)):
            raise RowRefused([problem])
        if (grant.tokens.token_type or "").casefold() != _DPOP:
            return
        if self._check_key is None:
            raise NeedsWorker(
                "a grant of token_type DPoP is checked with the account's key, which only a worker opens"
            )
        if problems := self._check_key(account, grant):
            raise RowRefused(list(problems))

    @staticmethod
    def _plan(account: Account, provider: Provider, tokens: SealedTokens, *, now: float) -> None:
        """Set when the account is due: by its policy, or at once where the grant has no access token."""
        when = due(session_policy(account, provider), token_times(account), jitter=account.jitter, now=now)
        at_once = when.at is not None and tokens.access_token_sealed is None
        account.rescheduled(now if at_once else when.at, NO_TOKEN_YET if at_once else when.reason)


def _token_set(grant: Grant, account: Account, provider: Provider, *, now: float) -> TokenSet:
    """Return the tokens as they are stored: times completed by the provider's data, what is published beside them chosen."""
    given = grant.tokens
    # A point in time that has not come yet is a clock's fault; the consent was a moment ago.
    issued_at = min(now if grant.issued_at is None else grant.issued_at, now)
    ends = expiry(given, issued_at=issued_at, default_lifetime_s=provider.default_lifetime_s)
    request = request_of(account, provider, lambda _: None, {})
    published = Publishable(request, given).fields(grant.response, provider.publish_fields)
    has_access = bool(given.access_token)
    return TokenSet(
        access_token=given.access_token,
        refresh_token=given.refresh_token,
        token_type=(given.token_type or _BEARER) if has_access else account.token_type,
        scope=given.scope or account.scope,
        issued_at=issued_at if has_access else account.issued_at,
        expires_at=(None if provider.never_expires else ends) if has_access else account.expires_at,
        refresh_token_expires_at=account.refresh_token_expires_at
        if given.refresh_token is None
        else refresh_token_expiry(
            given, issued_at=issued_at, lifetime_s=provider.refresh_token_lifetime_s, kept=None
        ),
        extra={**read_extra(account.extra), **given.extra, **as_texts(published)},
    )


def _lacks_refresh_token(account: Account, provider: Provider) -> Problem | None:
    """Return what is wrong with a grant without a refresh token: the account would end with its access token."""
    planned = account.refresh_enabled and account.session_management != SessionManagement.NONE
    if not planned or provider.grant is not GrantType.REFRESH_TOKEN:
        return None
    if account.refresh_fp is not None and account.status != Status.REAUTHORIZE:
        return None
    stored = "the provider refused the stored one" if account.refresh_fp is not None else "none is stored"
    return Problem(
        "refresh_token",
        f"is missing, and {stored}: most providers give one for a scope (offline_access) or a parameter "
        "(access_type=offline, prompt=consent) alone",
    )


def _outcome(account: Account) -> GrantOutcome:
    known = (account.refresh_fp, account.source_fp, account.issued_at, account.expires_at)
    if all(one is None for one in known):
        return GrantOutcome.CONNECTED
    return GrantOutcome.RECONNECTED if account.is_troubled else GrantOutcome.REPLACED


def _events(account: Account, outcome: GrantOutcome, *, now: float) -> tuple[Event, ...]:
    """Return what is announced: whoever waits for `recovered` after a failure gets it, as with any other new token."""

    def event(kind: EventType, reason: str) -> Event:
        return Event(
            type=kind.value,
            reason=reason,
            at=now,
            account=account.id,
            generation=account.generation + 1,
            labels=account.labels,
        )

    if outcome is GrantOutcome.CONNECTED:
        told = [event(EventType.CONNECTED, CONSENT_GIVEN)]
    else:
        told = [event(EventType.RECONNECTED, CONSENT_GIVEN)]
    if account.is_troubled:
        told.insert(0, event(EventType.RECOVERED, CREDENTIALS_REPLACED))
    return tuple(told)


def _stored(one: _Applied, grant: Grant, *, now: float) -> StoredGrant:
    token = grant.tokens.access_token or None
    return StoredGrant(one.account, one.outcome, publication(one.account, token, now=now), one.events)


def _moved(account_id: str) -> Moved:
    return Moved(f"account {account_id} changed each time between being read and being stored: try again")
