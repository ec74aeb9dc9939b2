"""One account at a time, by a person's word: added, edited, enabled, disabled, removed, and published at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from models.account_state import Status, fingerprint
from models.act import Act, Action, Actor
from models.publication import publication
from worker.accounts.apply import Applied, Applier, Intent
from worker.accounts.authority import EVERY_ACCOUNT, foreign, sees
from worker.accounts.entry import AccountEntry, RowRefused
from worker.accounts.importer import change_of, recovered_event
from worker.accounts.publisher import CommandPublisher
from worker.accounts.token_precedence import ImportOutcome
from worker.accounts.twins import SameGrant, TwinGuard
from worker.clock import Clock
from worker.db.accounts.stored import Accounts, Note
from worker.db.records.acts import record
from worker.errors import RefreshdError, UnknownAccount, UsageError

if TYPE_CHECKING:  # it brings the HTTP client, which editing an account has no use for
    from models.tables.account import Account
    from worker.accounts.grants.revoker import Revoked

#: An account that is refreshed every second still holds still between two tries.
_TRIES: Final = 20


#: Writes beside an account, in the commit that stores it.
Also = Callable[[Connection, Applied], None]


#: Changes an account in an open transaction; False: it has moved on, and nothing is changed.
Prepared = Callable[[Connection], bool]


class AlreadyThere(UsageError):
    """An account of this id exists."""


class Busy(RefreshdError):
    """An account changed again and again while it was edited."""


class Editor:
    """Applies entries that a person gave, and stores them."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        applier: Applier,
        publisher: CommandPublisher,
        clock: Clock,
        actor: Actor,
        twins: SameGrant | None,
        require_labels: Mapping[str, str] = EVERY_ACCOUNT,
    ) -> None:
        """Make an editor.

        Args:
            accounts: their table.
            applier: applies entries.
            publisher: publishes what is stored.
            clock: the database's.
            actor: whom the audit trail names.
            twins: compares grants, so that no two accounts share one; None: they may.
            require_labels: accounts without them are as if they were not there, and new ones get them.
        """
        self._required = require_labels
        self._twins = twins
        self._actor = actor
        self._accounts = accounts
        self._applier = applier
        self._publisher = publisher
        self._clock = clock

    def add(
        self,
        entry: AccountEntry,
        action: Action = Action.ADD,
        also: Also | None = None,
        *,
        may_await_grant: bool = False,
        consented_at: float | None = None,
    ) -> Applied:
        """Add an account; `action` is what the audit trail calls it, `also` writes beside it in the same commit.

        With `may_await_grant` it may come without the refresh token that it needs, and waits for a grant. `consented_at` is
        when its owner consented, epoch seconds.

        Raises:
            AlreadyThere: its id is taken.
            Refused: it can't be stored like that, or another account has its refresh token.
        """
        if self._accounts.find([entry.id]):
            raise _already_there(entry.id)
        retired = self._accounts.retired([entry.id]).get(entry.id, 0)
        self._applier.know_clients([entry])
        applied = self._applier.add(
            entry, retired=retired, now=self._clock.now(), may_await_grant=may_await_grant
        )
        if not self._save(applied, action, also, consented_at=consented_at):
            raise _already_there(entry.id)
        self._publish(applied)
        return applied

    def edit(
        self, entry: AccountEntry, action: Action = Action.EDIT, *, spent_stays: bool = False
    ) -> Applied:
        """Change what an entry names; `action` is what the audit trail calls it.

        With `spent_stays` a refresh token that was replaced by a newer one is not put back in its place: the entry may have
        been sent before.

        Raises:
            UnknownAccount: there is none of this id.
            Refused: the account can't be like that, or another one has its refresh token.
        """
        if entry.labels or entry.all_labels:
            entry.labels |= self._required
        for _ in range(_TRIES):
            account = self.account(entry.id)
            self._applier.know_clients([entry], [account])
            spent = spent_stays and self._is_spent(entry, account)
            applied = self._applier.change(
                entry,
                account,
                once_held=spent,
                intent=Intent.FILE if spent else Intent.PERSON,
                now=self._clock.now(),
            )
            if applied.outcome is not ImportOutcome.CHANGED:
                return applied
            if self._save(applied, action):
                if not applied.labels_only:
                    self._publish(applied)
                return applied
        raise _moved(entry.id)

    def prepared(self, entry: AccountEntry, action: Action = Action.EDIT) -> Prepared | None:
        """Return what changes an account as `edit` does, within a transaction of the caller's; None: nothing changes.

        It returns whether it did: False where the account is not any more as it was read here.

        Raises:
            UnknownAccount: there is none of this id.
            Refused: the account can't be like that.
        """
        account = self.account(entry.id)
        self._applier.know_clients([entry], [account])
        now = self._clock.now()
        applied = self._applier.change(entry, account, once_held=False, intent=Intent.PERSON, now=now)
        if applied.outcome is not ImportOutcome.CHANGED:
            return None
        change, note = change_of(applied, now=now), self._note(applied, action, None)

        def guard(connection: Connection) -> set[str]:
            return foreign(connection, self._required, [entry.id])

        return lambda connection: bool(self._accounts.write(connection, [], [change], note, guard))

    def put(self, entry: AccountEntry, also: Also | None = None) -> Applied:
        """Add an account, or change what an entry names; a stored token that is newer than the entry's stays.

        `also` writes beside an account that is added, in the same commit. One that is added without a grant waits for it.

        Raises:
            Refused: the account can't be like that, or another one has its refresh token.
        """
        entry.labels |= self._required
        for _ in range(_TRIES):
            account = self._accounts.find([entry.id]).get(entry.id)
            if account is None:
                with suppress(AlreadyThere):
                    return self.add(entry, also=also, may_await_grant=True)
                continue
            if not sees(self._required, account):
                raise UnknownAccount(entry.id)
            self._applier.know_clients([entry], [account])
            applied = self._applier.change(
                entry,
                account,
                once_held=self._once_held(entry, account),
                intent=Intent.FILE,
                now=self._clock.now(),
            )
            if applied.source_only:
                self._accounts.note_source([change_of(applied, now=self._clock.now())])
            if applied.outcome is not ImportOutcome.CHANGED:
                return applied
            if self._save(applied, Action.EDIT):
                if not applied.labels_only:
                    self._publish(applied)
                return applied
        raise _moved(entry.id)

    def _is_spent(self, entry: AccountEntry, account: Account) -> bool:
        """Return whether the account has used an entry's refresh token, and has another one that was not refused."""
        fp = fingerprint(entry.refresh_token)
        if fp is None or fp == account.refresh_fp or account.status == Status.REAUTHORIZE:
            return False
        return fp == account.source_fp or self._once_held(entry, account)

    def _once_held(self, entry: AccountEntry, account: Account) -> bool:
        fp = fingerprint(entry.refresh_token)
        if fp is None or fp in {account.refresh_fp, account.source_fp}:
            return False
        return bool(self._accounts.once_held([(entry.id, fp)]))

    def remove(self, ids: Sequence[str], *, revoked: Revoked | None = None) -> None:
        """Remove accounts, and take what Redis has of them away.

        Args:
            ids: the accounts.
            revoked: what became of the grant at the provider, for the audit trail; None: nobody asked.

        Raises:
            UnknownAccount: there is none of one of these ids; nothing was removed.
            RedisUnreachable: Redis would go on showing their tokens; the message says what was removed.
        """
        self.to_remove(ids)
        self._publisher.require()
        detail = {} if revoked is None else revoked.as_detail()

        def note(connection: Connection, removed: set[str]) -> None:
            record(
                connection, self._actor, [Act(Action.REMOVE, one, detail=detail) for one in sorted(removed)]
            )

        self._publisher.drop(self._accounts.remove(ids, note))

    def to_remove(self, ids: Sequence[str]) -> list[Account]:
        """Read accounts that are to be removed. What Redis still has of one that was removed before goes now.

        It may have been away then. Whoever sees accounts of certain labels alone does not see what was removed.

        Raises:
            UnknownAccount: there is none of one of these ids.
            RedisUnreachable: Redis would go on showing the token of one that was removed.
        """
        try:
            return self.accounts(ids)
        except UnknownAccount:
            if not self._required and (removed := self._accounts.find_or_retired(ids)[1]):
                self._publisher.drop(removed)
            raise

    def account(self, account_id: str) -> Account:
        """Read an account.

        Raises:
            UnknownAccount: there is none of this id.
        """
        return self.accounts([account_id])[0]

    def accounts(self, ids: Sequence[str]) -> list[Account]:
        """Read accounts, in this order.

        Raises:
            UnknownAccount: there is none of one of these ids.
        """
        found = self._accounts.find(ids)
        for account_id in ids:
            if account_id not in found or not sees(self._required, found[account_id]):
                raise UnknownAccount(account_id)
        return [found[account_id] for account_id in ids]

    def _sees(self, _: Account, other: Account) -> bool:
        return sees(self._required, other)

    def _save(
        self, applied: Applied, action: Action, also: Also | None = None, *, consented_at: float | None = None
    ) -> bool:
        """Store an account; False where it is not as it was read any more."""
        note = self._note(applied, action, also, consented_at=consented_at)
        twins = None if self._twins is None else TwinGuard(self._twins, [applied], sees=self._sees)
        account, unseen = applied.account, set[str]()

        def guard(connection: Connection) -> set[str]:
            unseen.update(foreign(connection, self._required, [account.id]))
            return unseen | (twins(connection) if twins is not None else set())

        if applied.seen is None:
            stored = self._accounts.save([account], (), note, guard)
        else:
            stored = self._accounts.save([], [change_of(applied, now=self._clock.now())], note, guard)
        if unseen:
            raise UnknownAccount(account.id)
        if twins is not None and twins.problems:
            raise RowRefused(list(twins.problems.values()))
        return bool(stored)

    def _note(
        self, applied: Applied, action: Action, also: Also | None, *, consented_at: float | None = None
    ) -> Note:
        account, detail = applied.account, dict[str, Any]()
        if applied.changed:
            detail["fields"] = list(applied.changed)
        if consented_at is None and action is Action.AUTHORIZE:
            consented_at = account.issued_at
        if consented_at is not None:
            detail["consented_at"] = round(min(consented_at, self._clock.now()), 3)

        def note(connection: Connection, stored: set[str]) -> None:
            record(connection, self._actor, [Act(action, account.id, account.provider, detail)])
            if also is not None and account.id in stored:
                also(connection, applied)

        return note

    def _publish(self, applied: Applied) -> None:
        now = self._clock.now()
        events = [recovered_event(applied, now=now)] if applied.recovered else []
        self._publisher.put([publication(applied.account, applied.access_token, now=now)], events)


def _moved(account_id: str) -> Busy:
    return Busy(f"account {account_id} changed each time between being read and being stored: try again")


def _already_there(account_id: str) -> AlreadyThere:
    return AlreadyThere(
        f"account {account_id} exists: change it with `refreshd accounts edit {account_id} ...`"
    )
