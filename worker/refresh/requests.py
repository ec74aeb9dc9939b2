"""What a call is made of: the account's provider and its opened secrets. What is missing is a reason not to call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from models.providers import Provider
from models.tables.account import Account, RefreshMethod
from models.tables.attempt import AttemptEntry, Trigger
from models.tables.client import Client
from worker.crypto.sealer import AccountSealer
from worker.errors import CipherError, DatabaseUnreachable, KeyMissing, KnobsUnfit
from worker.policy.reasons.correction import CLIENT_UNKNOWN, KEY_MISSING, PROVIDER_KNOBS_UNFIT, SEAL_BROKEN
from worker.redis.pending_answers import PendingAnswer
from worker.refresh.attempt import OpenAttempt


class RequestBuilder:
    """Builds requests of accounts.

    Args:
        sealer: opens secrets.
        providers: finds an account's provider, with the options that the account overrides; None: it is unknown.
        foresee: reads what `providers` needs of accounts, before they are prepared.
    """

    def __init__(
        self,
        sealer: AccountSealer,
        providers: Callable[[Account], Provider | None],
        foresee: Callable[[Collection[Account]], Awaitable[None]],
    ) -> None:
        self._sealer = sealer
        self._providers = providers
        #: Has what `providers` needs of these accounts read, beside the event loop, in one go.
        self.foresee = foresee

    def prepare(
        self,
        account: Account,
        attempt: AttemptEntry,
        stashed: PendingAnswer | None,
        clients: Mapping[str, Client],
    ) -> OpenAttempt:
        """Return an account's attempt with its request, or with the reason why there is none.

        `clients` has, by name, the client that the account names. Whatever is raised for one account is its attempt's end, and
        keeps no other of the group from its own.
        """
        try:
            return self._prepared(account, attempt, stashed, clients)
        except DatabaseUnreachable:
            raise
        except Exception as error:  # noqa: BLE001  (nothing that nobody foresaw may hold the group)
            return OpenAttempt(account, attempt, None, None, stashed, account.status, broken=error)

    def _prepared(
        self,
        account: Account,
        attempt: AttemptEntry,
        stashed: PendingAnswer | None,
        clients: Mapping[str, Client],
    ) -> OpenAttempt:
        try:
            provider = self._providers(account)
        except KnobsUnfit as error:
            unfit = (PROVIDER_KNOBS_UNFIT, str(error))
            return OpenAttempt(
                account, attempt, error.provider, None, stashed, account.status, impossible=unfit
            )
        one = OpenAttempt(account, attempt, provider, None, stashed, account.status)
        client = None if account.client is None else clients.get(account.client)
        if account.client is not None and client is None:
            one.impossible = (CLIENT_UNKNOWN, f"client: no client {account.client!r} is stored")
        elif provider is not None:
            try:
                method = RefreshMethod.CALLBACK if attempt.trigger == Trigger.TEST else account.refresh_method
                one.request = self._sealer.request(account, provider, RefreshMethod(method), client)
            except CipherError as error:
                one.impossible = (KEY_MISSING if isinstance(error, KeyMissing) else SEAL_BROKEN, str(error))
        return one
