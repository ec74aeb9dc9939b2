"""What an entry says of an account's configuration, written into the account. Nothing is stored here."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from models.label import LABELS_MAX, write_labels
from worker.accounts.columns import LABELS, OF_THE_CLIENT
from worker.accounts.entry import AccountEntry, Problem, RowRefused
from worker.accounts.unsealed import UnsealedAccount
from worker.crypto.sealer import CLIENT_SECRET
from worker.db.accounts.columns import DEFAULTS, REQUIRED

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account
    from models.tables.client import Client
    from worker.db.accounts.clients import Clients


class KnownClients:
    """The clients that entries and accounts name, read at once for many of them."""

    def __init__(self, store: Callable[[], Clients]) -> None:
        self._store = store
        self._known: dict[str, Client] = {}

    def read(self, entries: Iterable[AccountEntry], accounts: Collection[Account] = ()) -> None:
        """Read, as they are now, the clients that these entries and accounts name."""
        names = {entry.settings.get("client") for entry in entries} | {one.client for one in accounts}
        named = {name for name in names if isinstance(name, str)}
        self._known = self._store().find(named) if named else {}

    def of(self, entry: AccountEntry, account: Account | None) -> Client | None:
        """Return the client that an account uses once the entry is applied; None: none.

        Raises:
            RowRefused: there is no client of this name.
        """
        name = entry.settings.get("client", account.client if account is not None else None)
        if not isinstance(name, str):
            return None
        if name not in self._known:
            raise RowRefused([_unknown(name)])
        return self._known[name]


def configure(opened: UnsealedAccount, entry: AccountEntry, client: Client | None = None) -> list[str]:
    """Write what an entry says of the configuration, and return the names of the fields that changed.

    Args:
        opened: the account; it is changed.
        entry: the row or the command.
        client: the client that the account uses from now on: the one that the entry names, else the account.

    Raises:
        RowRefused: a field is taken back that an account can't be without, or differs from the client's; or the client
            that is named is not the one that is given.
    """
    account = opened.account
    named = entry.settings.get("client", account.client)
    if named is not None and (client is None or client.name != named):
        raise RowRefused([_unknown(str(named))])
    changed = _let_go_of_client(opened) if client is None and account.client else []
    own = [name for name in entry.settings if client is None or name not in OF_THE_CLIENT]
    for name in own:
        changed += _set(opened, name, entry.settings[name])
    if client is not None:
        changed += _use(opened, entry, client)
    elif CLIENT_SECRET in entry.secrets and entry.secrets[CLIENT_SECRET] != opened.get(CLIENT_SECRET):
        opened.set_client_secret(entry.secrets[CLIENT_SECRET])
        changed.append(CLIENT_SECRET)
    if entry.custom_fields or entry.all_custom_fields:
        changed += _configure_custom_fields(opened, entry)
    if entry.knobs:
        changed += _configure_knobs(account, entry)
    if entry.labels or entry.all_labels:
        changed += _configure_labels(account, entry)
    return list(dict.fromkeys(changed))


def _unknown(name: str) -> Problem:
    return Problem("client", f"no client {name!r} is stored; `refreshd clients add {name} ...` adds it")


def _set(opened: UnsealedAccount, name: str, value: object) -> list[str]:
    if value is None and name in REQUIRED:
        raise RowRefused([Problem(name, "an account can't be without it")])
    wanted = DEFAULTS[name] if value is None else value
    if getattr(opened.account, name) == wanted:
        return []
    opened.set_columns(**{name: wanted})
    return [name]


def _use(opened: UnsealedAccount, entry: AccountEntry, client: Client) -> list[str]:
    """Take over what the client has; what the entry says of it must be the same."""
    opened.use(client)
    theirs = {name: getattr(client, name) for name in OF_THE_CLIENT}
    given: dict[str, object] = {name: entry.settings.get(name) for name in OF_THE_CLIENT}
    differing = [name for name, value in given.items() if value is not None and value != theirs[name]]
    secret = entry.secrets.get(CLIENT_SECRET)
    if secret is not None and secret != opened.get(CLIENT_SECRET):
        differing.append(CLIENT_SECRET)
    if differing:
        reason = f"client {client.name!r} has another one: leave it out, or edit the client"
        raise RowRefused([Problem(name, reason) for name in differing])
    account = opened.account
    if account.token_url is None and client.token_url is not None:
        theirs["token_url"] = client.token_url
    changed = [name for name, value in theirs.items() if getattr(account, name) != value]
    opened.set_columns(**theirs, client_secret_sealed=None)
    return changed + _take_issuer(account, entry, client)


def _take_issuer(account: Account, entry: AccountEntry, client: Client) -> list[str]:
    """Take over the client's issuer, where the account is one of its metadata."""
    if client.issuer is None or account.provider != client.provider:
        return []
    named = entry.knobs.get("issuer")
    if named not in {None, client.issuer}:
        from worker.providers.discovery.metadata import bare_issuer  # with it comes what reads metadata

        if bare_issuer(str(named)) != bare_issuer(client.issuer):
            words = f"client {client.name!r} is one of {client.issuer}: leave it out, or name that"
            raise RowRefused([Problem("issuer", words)])
    knobs: dict[str, object] = json.loads(account.knobs)
    if knobs.get("issuer") == client.issuer:
        return []
    account.knobs = json.dumps({**knobs, "issuer": client.issuer}, sort_keys=True)
    return ["issuer"]


def _let_go_of_client(opened: UnsealedAccount) -> list[str]:
    """Take the client's id and way of authentication away: the account's own are the entry's."""
    had = [name for name in OF_THE_CLIENT if getattr(opened.account, name) is not None]
    opened.set_columns(**dict.fromkeys(OF_THE_CLIENT), client=None)
    return ["client", *had]


def _configure_custom_fields(opened: UnsealedAccount, entry: AccountEntry) -> list[str]:
    stored = opened.custom_fields
    kept = {} if entry.all_custom_fields else dict(stored)
    fields = {name: value for name, value in {**kept, **entry.custom_fields}.items() if value is not None}
    if fields == stored and not any(one.field == "custom_fields" for one in opened.unreadable()):
        return []
    opened.set_custom_fields(fields)
    return ["custom_fields"]


def _configure_knobs(account: Account, entry: AccountEntry) -> list[str]:
    stored: dict[str, object] = {} if account.knobs == "{}" else json.loads(account.knobs)
    changed = [name for name, value in entry.knobs.items() if stored.get(name) != value]
    if changed:
        knobs = {name: value for name, value in {**stored, **entry.knobs}.items() if value is not None}
        account.knobs = json.dumps(knobs, sort_keys=True)
    return changed


def _configure_labels(account: Account, entry: AccountEntry) -> list[str]:
    stored = account.label_set
    kept = {} if entry.all_labels else stored
    labels = {name: value for name, value in {**kept, **entry.labels}.items() if value is not None}
    if labels == stored:
        return []
    if len(labels) > LABELS_MAX:
        raise RowRefused([Problem(LABELS, f"an account has at most {LABELS_MAX} labels, not {len(labels)}")])
    account.labels = write_labels(labels)
    return [LABELS]
