"""A client's change, taken over by the accounts that name it: page by page, and goes on where it was interrupted.

What they are refreshed with is copied, and the config version of each grows: a call that is under way with the old secret
can't fail them any more. Accounts that the client had stopped are planned again, one after the other at the rate that
their provider takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from models.providers import Provider
from models.tables.account import Account
from worker.clock import Clock
from worker.db.accounts.of_client import ClientAccounts
from worker.db.accounts.stored import Accounts, Change
from worker.log import log
from worker.policy.due import due, session_policy, token_times

#: How often an account is read again that was changed in between.
_TRIES: Final = 5


class TakenOver(Struct, frozen=True):
    """How many accounts took a change over, and how many of them were planned again."""

    accounts: int = 0
    woken: int = 0


class ClientChanges:
    """Has accounts take over what changed of their clients.

    Args:
        accounts: the table of accounts.
        client_accounts: finds the accounts of a client.
        provider_of: finds an account's provider, None where nobody describes it.
        clock: the database's.
        requests_per_s: the rate of a provider whose data names none.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        client_accounts: ClientAccounts,
        provider_of: Callable[[Account], Provider | None],
        clock: Clock,
        requests_per_s: float,
    ) -> None:
        self._accounts = accounts
        self._of_client = client_accounts
        self._provider_of = provider_of
        self._clock = clock
        self._requests_per_s = requests_per_s

    def finish(self) -> TakenOver:
        """Go on with every change that was interrupted."""
        done = [self.take_over(name) for name in self._of_client.unfinished()]
        return TakenOver(sum(one.accounts for one in done), sum(one.woken for one in done))

    def take_over(self, name: str) -> TakenOver:
        """Have all accounts of a client take over its last change; without effect where they have.

        Another process may do the same, or change the client again, meanwhile: each page is taken over at least once.
        """
        found, turns = TakenOver(), _Turns(self._clock.now(), self._requests_per_s)
        while (client := self._of_client.unfinished_client(name)) is not None:
            ids = self._of_client.take_over_page(client)
            woken = self._wake(ids, turns)
            self._of_client.advance(client, ids)
            found = replace(found, accounts=found.accounts + len(ids), woken=found.woken + woken)
        return found

    def _wake(self, ids: list[str], turns: _Turns) -> int:
        """Plan accounts again that the client had stopped; returns their number."""
        woken = 0
        for _ in range(_TRIES):
            changes = [
                change for account in self._of_client.stopped(ids) if (change := self._woken(account, turns))
            ]
            if not changes:
                break
            woken += len(self._accounts.save([], changes))
        return woken

    def _woken(self, account: Account, turns: _Turns) -> Change | None:
        try:
            provider = self._provider_of(account)
        except Exception as error:  # noqa: BLE001  (it holds none of the client's other accounts)
            log.error("account_not_woken", account=account.id, exc_info=error)
            return None
        if provider is None:
            return None
        seen = account.generation, account.config_version
        account.client_changed(now=self._clock.now())
        turns.schedule(account, provider)
        return Change(account, *seen)


class _Turns:
    """Gives accounts that are due at once their turn, one after the other at their provider's rate."""

    def __init__(self, now: float, requests_per_s: float) -> None:
        self._now = now
        self._requests_per_s = requests_per_s
        self._given: dict[str, int] = {}

    def schedule(self, account: Account, provider: Provider) -> None:
        """Set when the account is due: as its policy says, and not before its turn."""
        rate = provider.requests_per_s or self._requests_per_s
        policy = session_policy(account, provider, spread_s=1 / rate)
        when = due(policy, token_times(account), jitter=account.jitter, now=self._now)
        at = when.at
        if at is not None:
            turn = self._given.get(account.provider, 0)
            self._given[account.provider] = turn + 1
            at = max(at, self._now + turn / rate)
        account.rescheduled(at, when.reason)
