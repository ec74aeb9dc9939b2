"""Two accounts of one client that hold the same refresh token.

Where refresh tokens are rotated, the first refresh of either ends the other's, and many providers then end the grant
of both (RFC 9700 section 4.14). So a second account is not given a token that another holds, unless somebody means it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from sqlalchemy import Connection

from models.account_state import RefreshMethod
from models.providers import GrantType
from worker.db.fleet.twins import holders_in_turn

if TYPE_CHECKING:  # they bring the HTTP client, which comparing has no use for
    from models.tables.account import Account
    from worker.accounts.entry import Problem
    from worker.providers.registry import Providers

#: The option of every command that stores a refresh token.
ALLOW_SHARED_GRANT: Final = "--allow-shared-grant"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class SameGrant:
    """Compares whose grant the refresh tokens of two accounts are."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def __call__(self, one: Account, other: Account) -> bool:
        """Return whether the same refresh token in both is the same grant: of one client, at one server."""
        return one.client_id == other.client_id and not self.servers(one).isdisjoint(self.servers(other))

    def servers(self, account: Account) -> frozenset[str]:
        """Return the names of the server that an account's refresh token is sent to; none where it is never sent.

        Its address is one. A provider of which the address is known is another: the same token of the same client is the
        same grant there, whichever of its hosts is asked.
        """
        provider = self._providers.for_schedule(account)
        if account.refresh_method == RefreshMethod.CALLBACK:
            names = {f"callback {account.callback}"}
        elif provider is not None and provider.grant is not GrantType.REFRESH_TOKEN:
            return frozenset()
        else:
            names = set()
        described = self._providers.known.get(account.provider)
        if described is not None and described.endpoint is not None:
            names.add(f"provider {account.provider}")
        endpoint = provider.endpoint if provider is not None else None
        address = account.token_url or (endpoint.source if endpoint is not None else None)
        if address:
            names.add(_address(address, account.server_url))
        return frozenset(names)


class HasGrants(Protocol):
    """An account as it shall be stored."""

    @property
    def account(self) -> Account:
        """The row."""

    @property
    def new_grants(self) -> frozenset[str]:
        """Fingerprints of refresh tokens that become the account's, or come to be another client's."""


class TwinGuard:
    """Names, within the transaction that stores accounts, those that would be twins: they are left out of it.

    Args:
        same: compares two accounts.
        applied: what is about to be stored, in the order in which it was asked for.
        holders: accounts that hold one of the refresh tokens, read since the transaction has waited for others that store
            any; None: the guard waits and reads.
        sees: whether whoever asks may learn of an account; first the one that is about to be stored.
    """

    def __init__(
        self,
        same: SameGrant,
        applied: Iterable[HasGrants],
        *,
        holders: Sequence[tuple[str, Account]] | None = None,
        sees: Callable[[Account, Account], bool] = lambda _, __: True,
    ) -> None:
        self._same = same
        self._sees = sees
        self._holders = holders
        self._applied = list(applied)
        #: Of each account that was left out, why.
        self.problems: dict[str, Problem] = {}

    def __call__(self, connection: Connection) -> set[str]:
        """Return the ids that must not be stored."""
        self.problems = {}
        fingerprints = sorted({fp for one in self._applied for fp in one.new_grants})
        if not fingerprints:
            return set()
        held: dict[str, list[Account]] = {}
        for fp, account in self._read(connection, fingerprints) if self._holders is None else self._holders:
            held.setdefault(fp, []).append(account)
        # A stable sort: those that keep their token come first, the others in the order of their rows.
        for one in sorted(self._applied, key=lambda one: bool(one.new_grants)):
            account = one.account
            others = (other for fp in sorted(one.new_grants) for other in held.get(fp, ()))
            twin = next((other for other in others if self._same(account, other)), None)
            if twin is not None:
                self.problems[account.id] = shared_grant(twin.id if self._sees(account, twin) else None)
                continue
            for given in {account.refresh_fp, account.source_fp}:
                if given is not None:
                    held.setdefault(given, []).append(account)
        return set(self.problems)

    def _read(self, connection: Connection, fingerprints: Sequence[str]) -> Iterable[tuple[str, Account]]:
        return holders_in_turn(connection, fingerprints, but=[one.account.id for one in self._applied])


def shared_grant(twin: str | None) -> Problem:
    """Return what is wrong with a refresh token that another account has; None: whoever asks may not learn which one."""
    from worker.accounts.entry import Problem

    which = "another account" if twin is None else f"account {twin}"
    way_out = (
        "Get this one a grant of its own"
        if twin is None
        else "Use that account, or get this one a grant of its own"
    )
    return Problem(
        "refresh_token",
        f"{which} of the same client has the same one, or was given it last: two accounts that refresh one grant "
        f"end it where refresh tokens are rotated. {way_out}",
        option=ALLOW_SHARED_GRANT,
    )


def _address(url: str, server_url: str | None) -> str:
    """Return a token URL in the form in which two are compared; variables are told apart by what they are made of."""
    if "${" in url:
        return f"{url} of {server_url}"
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path}?{parts.query}"
