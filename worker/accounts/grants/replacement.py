"""A new grant in the place of the stored one: its owner consented, for the first time or again.

Only the account's unsealed columns are read, so a process that can open nothing can store a grant. What is stored gives way:
whoever consented last is right, and an attempt in flight for the old grant loses by its generation. A grant that comes twice,
or after a newer one (`precedence.py`), replaces nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Engine

from models.act import Act, Action
from models.event import Event
from models.label import read_labels
from models.providers import Provider
from models.publication import publication
from models.tables.account import Account, SealedTokens, fingerprint
from worker.accounts.entry import Problem, RowRefused
from worker.accounts.grants.apart import apart
from worker.accounts.grants.entry import Grant, GrantOutcome, read_grant
from worker.accounts.grants.outcome import connected_event, events_of, outcome_of
from worker.accounts.grants.precedence import Superseded, answered, check_order, detail_of, is_repeated
from worker.accounts.grants.stored import Moved, NeedsWorker, StoredGrant, moved
from worker.accounts.grants.tokens import lacks_refresh_token, token_set
from worker.accounts.token_precedence import replaces_alone
from worker.accounts.twins import SameGrant, TwinGuard
from worker.clock import Clock, draw_jitter
from worker.crypto.sealer import TokenSealer
from worker.db.engine import reading, writing
from worker.db.intake import grants as sql
from worker.errors import RefreshdError, UnknownAccount
from worker.policy.due import due, session_policy, token_times
from worker.policy.reasons.due import NO_TOKEN_YET
from worker.providers.registry import Providers

__all__ = [
    "Grant",
    "GrantOutcome",
    "GrantStore",
    "Moved",
    "NeedsWorker",
    "StoredGrant",
    "Superseded",
    "connected_event",
    "read_grant",
    "token_set",
]

_DPOP: Final = "dpop"
#: An account that is refreshed every second still holds still between two tries.
_TRIES: Final = 20


#: Returns what is wrong with a grant that proves possession of a key, which is among the account's secrets.
CheckKey = Callable[[Account, Grant], Sequence[Problem]]
#: A grant that is stored, or why it is not.
GrantResult = StoredGrant | Exception


class _Applied(Struct, frozen=True):
    """An account with its new grant, as it shall be."""

    account: Account
    seen: int
    outcome: GrantOutcome
    events: tuple[Event, ...]
    new_grants: frozenset[str]
    #: The stored access token is of the grant before.
    ends_access_token: bool
    #: It has another refresh token than before.
    replaces: bool


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

    def check(self, grant: Grant) -> StoredGrant | None:
        """Return what is stored where the grant was stored already; None: it can be. Nothing is stored.

        Raises:
            UnknownAccount, RowRefused, NeedsWorker: as `store_one` would.
        """
        now = self._clock.now()
        with reading(self._engine) as connection:
            found = self._read(connection, [grant])
            account, last = _seen_by(grant, found.accounts), found.last.get(grant.account)
            if last is not None and is_repeated(grant, account, last):
                return answered(account, last, now=now)
            check_order(grant, last)
            applied = {0: self._apply(grant, account, was=account, now=now)}
            problems = self._twins(connection, {0: grant}, applied, found)
        if problems:
            raise RowRefused(list(problems.values()))
        return None

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
        grants = [self.sealed(one) for one in grants]
        done: dict[int, GrantResult] = {}
        for _ in range(_TRIES + len(grants)):
            batch: dict[str, int] = {}
            for number, grant in enumerate(grants):
                if number not in done:
                    batch.setdefault(grant.account, number)
            if not batch:
                break
            done |= apart(self._round, {number: grants[number] for number in batch.values()}, published)
            published = ()
        return [done.get(number) or moved(grant.account) for number, grant in enumerate(grants)]

    def sealed(self, grant: Grant) -> Grant:
        """Return a grant with its tokens sealed, which is most of its work, and needs no transaction to be open."""
        if grant.sealed is not None:
            return grant
        given = grant.tokens
        pair = self._sealer.seal_pair(grant.account, given.access_token, given.refresh_token)
        return replace(grant, sealed=pair)

    def _round(
        self, grants: Mapping[int, Grant], published: Sequence[tuple[str, int]]
    ) -> dict[int, GrantResult]:
        """Store what can be in one transaction; a grant whose account moved on meanwhile is left out of the result.

        A grant that configures its account comes alone: what keeps it from being stored is raised, and takes both back.
        """
        done: dict[int, GrantResult] = {}
        failed: dict[int, Exception] = {}
        applied: dict[int, _Applied] = {}
        with writing(self._engine) as connection:
            found = self._read(connection, list(grants.values()))
            was, configured = found.accounts, _configured(connection, grants)
            if configured:
                found = self._read(connection, list(grants.values()))
            now = self._clock.now()
            for number, grant in grants.items():
                try:
                    account, last = _seen_by(grant, found.accounts), found.last.get(grant.account)
                    if last is not None and is_repeated(grant, account, last):
                        done[number] = answered(account, last, now=now)
                        continue
                    check_order(grant, last)
                    applied[number] = self._apply(grant, account, was=was[grant.account], now=now)
                except (RowRefused, RefreshdError) as error:
                    failed[number] = error
            for number, problem in self._twins(connection, grants, applied, found).items():
                del applied[number]
                failed[number] = RowRefused([problem])
            granted = [self._granted(one, grants[number], now=now) for number, one in applied.items()]
            if configured and failed:
                raise next(iter(failed.values()))
            more = configured or any(grants[number].also is not None for number in applied)
            ids = sql.write(connection, granted, published, commit=not more)
            stored = {number: one for number, one in applied.items() if one.account.id in ids}
            for number, one in stored.items():
                also = grants[number].also
                if also is not None:
                    also(connection, one.outcome, one.account.generation)
        done |= failed
        return done | {number: _stored(one, grants[number], now=now) for number, one in stored.items()}

    @staticmethod
    def _read(connection: Connection, grants: Sequence[Grant]) -> sql.Found:
        guarded = [one for one in grants if not one.allow_shared]
        tokens = [one.tokens.refresh_token for one in guarded]
        return sql.read(
            connection,
            [one.account for one in grants],
            sorted({fp for one in tokens if (fp := fingerprint(one)) is not None}),
            but=[one.account for one in guarded],
        )

    def _twins(
        self,
        connection: Connection,
        grants: Mapping[int, Grant],
        applied: Mapping[int, _Applied],
        found: sql.Found,
    ) -> dict[int, Problem]:
        guarded = {number: one for number, one in applied.items() if not grants[number].allow_shared}
        # An account whose own grant failed may hold another's token: it was left out of those that were looked for.
        complete = len(applied) == len(grants)
        required = {grant.account: grant.require_labels for grant in grants.values()}
        guard = TwinGuard(
            self._same,
            list(guarded.values()),
            holders=found.holders if complete else None,
            sees=lambda one, other: required[one.id].items() <= read_labels(other.labels).items(),
        )
        refused = guard(connection)
        return {
            number: guard.problems[one.account.id]
            for number, one in guarded.items()
            if one.account.id in refused
        }

    def _granted(self, one: _Applied, grant: Grant, *, now: float) -> sql.Granted:
        account = one.account
        detail = detail_of(grant, one.outcome, account, now=now)
        act = Act(Action.GRANT, account.id, account.provider, detail)
        told = tuple(event for event in one.events if event.type in self._told)
        return sql.Granted(account, one.seen, grant.actor, act, told, one.ends_access_token, one.replaces)

    def _apply(self, grant: Grant, account: Account, *, was: Account, now: float) -> _Applied:
        """Return the account with the grant; `was`: the account before the grant configured it."""
        provider = self._providers.for_schedule(account)
        if provider is None:
            raise RowRefused(
                [Problem("provider", f"{account.provider!r} is not known, and the account has no token_url")]
            )
        self._check(grant, account, provider, was)
        seen, outcome = account.generation, outcome_of(was)
        events = events_of(was, outcome, now=now)
        kept_fp, ends_access_token = (
            account.refresh_fp,
            replaces_alone(account, grant.tokens.access_token, grant.tokens.refresh_token),
        )
        tokens = self._sealer.seal_tokens(
            account.id, token_set(grant, account, provider, now=now), grant.sealed
        )
        account.refreshed(tokens, next_refresh_at=None, due_reason="", jitter=draw_jitter(), now=now)
        vars(account)["refresh_token_end_fixed"] = False
        if grant.tokens.refresh_token is None:
            vars(account)["refresh_fp"] = kept_fp
        self._plan(account, provider, tokens, now=now)
        return _Applied(
            account=account,
            seen=seen,
            outcome=outcome,
            events=events,
            new_grants=frozenset() if tokens.refresh_fp is None else frozenset({tokens.refresh_fp}),
            ends_access_token=ends_access_token,
            replaces=account.refresh_fp != kept_fp,
        )

    def _check(self, grant: Grant, account: Account, provider: Provider, was: Account) -> None:
        if grant.tokens.refresh_token is None:
            stays = was is account or self._same(was, account)
            if problem := lacks_refresh_token(was, provider, stays=stays):
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


def _seen_by(grant: Grant, accounts: Mapping[str, Account]) -> Account:
    """Return the account that a grant is for.

    Raises:
        UnknownAccount: there is none, or the grant may not see it.
    """
    account = accounts.get(grant.account)
    if account is None or not grant.require_labels.items() <= read_labels(account.labels).items():
        raise UnknownAccount(grant.account)
    return account


def _configured(connection: Connection, grants: Mapping[int, Grant]) -> bool:
    """Configure the accounts of grants; returns whether there was anything to configure.

    Raises:
        Moved: an account is not any more as it was read.
    """
    found = False
    for grant in grants.values():
        if grant.configure is not None:
            if not grant.configure(connection):
                raise moved(grant.account)
            found = True
    return found


def _stored(one: _Applied, grant: Grant, *, now: float) -> StoredGrant:
    token = grant.tokens.access_token or None
    return StoredGrant(one.account, one.outcome, publication(one.account, token, now=now), one.events)
