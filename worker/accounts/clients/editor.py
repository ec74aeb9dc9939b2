"""Clients, by a person's word: added, edited and removed; each change is taken over by the accounts that name them."""

from __future__ import annotations

import json
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection

from models.act import Act, Action, Actor
from models.tables.client import FROM_THE_FIRST, Client
from worker.accounts.clients.changes import ClientChanges, TakenOver
from worker.accounts.clients.entry import CLIENT_SECRET, ClientEntry, shown_fields
from worker.accounts.entry import Problem, RowRefused
from worker.accounts.token_precedence import ImportOutcome
from worker.accounts.unsealed import UnsealedAccount
from worker.accounts.validation import AccountValidator
from worker.clock import Clock
from worker.crypto.sealer import AccountSealer
from worker.db.accounts.clients import Clients, Note
from worker.db.accounts.stored import blank
from worker.db.records.acts import record
from worker.errors import RefreshdError, UsageError

#: What the accounts of a client are refreshed with.
_REFRESHED_WITH: Final = frozenset({CLIENT_SECRET, "client_id", "client_auth", "token_url", "issuer"})
_CHECKED: Final = _REFRESHED_WITH | {"provider"}
_TRIES: Final = 5
_BY_NONE: Final = TakenOver()


class UnknownClient(UsageError):
    """No client has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no client {name!r} is stored; `refreshd clients list` shows all")
        self.name = name


class ClientExists(UsageError):
    """A client of this name exists."""


class ClientInUse(UsageError):
    """Accounts name the client."""

    def __init__(self, name: str, accounts: int) -> None:
        super().__init__(
            f"client {name}: {accounts:,} accounts name it (`refreshd accounts list --client {name}`) and could not be "
            "refreshed without it. Give them another one first; --force removes it all the same"
        )
        self.accounts = accounts


class ClientApplied(Struct, frozen=True):
    """A client as it is stored, and what became of it."""

    client: Client
    outcome: ImportOutcome
    #: Names of the fields that changed.
    changed: tuple[str, ...] = ()
    taken_over: TakenOver = _BY_NONE


class ClientEditor:
    """Stores clients, and has their accounts take a change over."""

    def __init__(
        self,
        *,
        clients: Clients,
        changes: ClientChanges,
        sealer: AccountSealer,
        checker: AccountValidator,
        clock: Clock,
        actor: Actor,
    ) -> None:
        self._clients = clients
        self._changes = changes
        self._sealer = sealer
        self._checker = checker
        self._clock = clock
        self._actor = actor

    def add(self, entry: ClientEntry) -> ClientApplied:
        """Add a client.

        Raises:
            ClientExists: its name is taken.
            RowRefused: it can't be stored like that.
        """
        applied = self._add(entry)
        if applied is None:
            raise ClientExists(
                f"client {entry.name} exists: change it with `refreshd clients edit {entry.name} ...`"
            )
        return applied

    def edit(self, entry: ClientEntry) -> ClientApplied:
        """Change what an entry names.

        Raises:
            UnknownClient: there is none of this name.
            RowRefused: it can't be stored like that.
        """
        for _ in range(_TRIES):
            client = self._clients.find([entry.name]).get(entry.name)
            if client is None:
                raise UnknownClient(entry.name)
            if client.wake_after is not None:  # else accounts would miss the change before this one
                self._changes.take_over(entry.name)
                continue
            applied = self._change(entry, client)
            if applied is not None:
                return applied
        raise RefreshdError(f"client {entry.name} changed again and again meanwhile: try again")

    def put(self, entry: ClientEntry) -> ClientApplied:
        """Add a client, or change the one that is there.

        Raises:
            RowRefused: it can't be stored like that.
        """
        if self._clients.find([entry.name]):
            return self.edit(entry)
        return self._add(entry) or self.edit(entry)

    def remove(self, name: str, *, even_if_used: bool = False) -> int:
        """Remove a client, and return the number of accounts that name it all the same.

        Raises:
            UnknownClient: there is none of this name.
            ClientInUse: accounts name it, and `even_if_used` is not set.
        """
        used = self._clients.remove(
            name, even_if_used=even_if_used, note=self._note(Action.CLIENT_REMOVE, name)
        )
        if used is None:
            raise UnknownClient(name)
        if used and not even_if_used:
            raise ClientInUse(name, used)
        return used

    def _add(self, entry: ClientEntry) -> ClientApplied | None:
        now = self._clock.now()
        client = Client(
            name=entry.name, provider="", created_at=now, changed_at=now, wake_after=FROM_THE_FIRST
        )
        changed = self._configure(client, entry)
        if not client.provider:
            raise RowRefused([Problem("provider", "is missing (`generic` goes with a token_url)")])
        self._check(client)
        if not self._clients.save(client, seen=None, note=self._note(Action.CLIENT_ADD, client.name)):
            return None
        # Accounts may name it already: one of this name was removed though they did.
        taken_over = self._changes.take_over(client.name)
        return ClientApplied(client, ImportOutcome.ADDED, tuple(shown_fields(changed)), taken_over)

    def _change(self, entry: ClientEntry, client: Client) -> ClientApplied | None:
        """Store a change; None where the client was changed meanwhile."""
        seen, url_before = client.version, client.token_url
        changed = self._configure(client, entry)
        if not changed:
            return ClientApplied(client, ImportOutcome.UNCHANGED)
        self._check(client)
        client.version, client.changed_at = seen + 1, self._clock.now()
        if _REFRESHED_WITH & set(changed):
            client.token_url_before, client.wake_after = url_before, FROM_THE_FIRST
        names = shown_fields(changed)
        note = self._note(Action.CLIENT_EDIT, client.name, fields=names)
        if not self._clients.save(client, seen=seen, note=note):
            return None
        taken_over = self._changes.take_over(client.name)
        return ClientApplied(client, ImportOutcome.CHANGED, tuple(names), taken_over)

    def _configure(self, client: Client, entry: ClientEntry) -> list[str]:
        """Write an entry into a client, and return the names of the columns that changed."""
        changed = [name for name, value in entry.settings.items() if getattr(client, name) != value]
        for name in changed:
            setattr(client, name, entry.settings[name])
        if CLIENT_SECRET in entry.secrets and self._is_new(client, entry.secrets[CLIENT_SECRET]):
            client.client_secret_sealed = self._sealer.seal_client_secret(
                client.name, entry.secrets[CLIENT_SECRET]
            )
            changed.append(CLIENT_SECRET)
            if "secret_expires_at" not in entry.settings and client.secret_expires_at is not None:
                client.secret_expires_at = None  # it was the end of the secret before
                changed.append("secret_expires_at")
        return changed

    def _is_new(self, client: Client, secret: object) -> bool:
        try:
            return self._sealer.client_secret(client) != secret
        except RefreshdError:  # it does not open: whatever is given takes its place
            return True

    def _check(self, client: Client) -> None:
        """Check that accounts can be refreshed with a client.

        Raises:
            RowRefused: with what is missing or wrong.
        """
        account = blank(
            client.name, **{name: getattr(client, name) for name in ("provider", "client_id", "client_auth")}
        )
        account.token_url, account.client = client.token_url, client.name
        if client.issuer is not None:
            account.knobs = json.dumps({"issuer": client.issuer})
        try:
            provider = self._checker.provider(account)
            self._checker.check(UnsealedAccount(account, self._sealer, client), provider)
        except RowRefused as refused:
            # The rest is the accounts': tokens, custom fields.
            problems = [one for one in refused.problems if one.field in _CHECKED]
            if problems:
                raise RowRefused(problems) from None

    def _note(self, action: Action, name: str, **detail: object) -> Note:
        def note(connection: Connection) -> None:
            record(connection, self._actor, [Act(action, detail={"client": name} | detail)])

        return note
