"""Grants revoked at their providers before their accounts are removed: one at a time, each under its claim."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Self

from msgspec import Struct
from redis.exceptions import RedisError

from models.answer import Answer
from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.tables.account import Account
from models.tables.attempt import new_attempt_id
from models.tables.client import Client
from worker.accounts.unsealed import UnsealedAccount
from worker.clock import Clock
from worker.crypto.sealer import AccountSealer
from worker.db.accounts.stored import Accounts
from worker.errors import CipherError
from worker.providers.client import ProviderClient
from worker.providers.request.draft import InvalidRequest
from worker.providers.revocation import Revocation, asked_in_vain, read_revocation, revocation_request

#: A provider that is away, and does not say for how long, is asked again after this.
AGAIN_AFTER_S: Final = 30.0
#: What a provider says of it is believed up to this.
AGAIN_AFTER_MAX_S: Final = 3_600.0


class Revoked(Struct, frozen=True):
    """What became of one account's grant, and why, in words without a secret."""

    account: str
    outcome: Revocation
    reason: str = ""
    #: Asking again after so many seconds may end it: the provider, or Redis, was away. None: it would not.
    again_after_s: float | None = None

    def as_detail(self) -> dict[str, str]:
        """Return it as the audit trail keeps it."""
        return {"revocation": self.outcome.value} | ({"reason": self.reason} if self.reason else {})


class Revoker:
    """Revokes grants. Leaving the block closes the connections.

    Args:
        client_of: reads the client that an account names.
        has_stash: tells whether a newer answer of an account waits in Redis. Raises RedisError.
        call_timeout_s: for one whole call.
        claim_s: how long the account is kept from workers meanwhile.
        slot: holds what a call needs, as long as it lasts.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        sealer: AccountSealer,
        provider_of: Callable[[Account], Provider | None],
        client_of: Callable[[Account], Client | None],
        client: ProviderClient,
        clock: Clock,
        has_stash: Callable[[str], bool],
        call_timeout_s: float,
        claim_s: float,
        slot: Callable[[RefreshRequest], AbstractContextManager[None]],
    ) -> None:
        self._accounts = accounts
        self._sealer = sealer
        self._provider_of = provider_of
        self._client_of = client_of
        self._client = client
        self._clock = clock
        self._has_stash = has_stash
        self._call_timeout_s = call_timeout_s
        self._claim_s = claim_s
        self._slot = slot
        self._runner = asyncio.Runner()
        self._claims: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for account_id, claim in self._claims.items():
            self._accounts.unclaim(account_id, claim)
        self._runner.run(self._client.aclose())
        self._runner.__exit__(kind, error, trace)

    def revoke(self, account: Account) -> Revoked:
        """End one grant. The account stays claimed, so that no worker refreshes it before it is removed."""
        claim = new_attempt_id(self._clock.now())
        if not self._accounts.claim(account, claim, claim_s=self._claim_s):
            return Revoked(account.id, Revocation.BUSY, "a refresh is under way: try again in a moment")
        self._claims[account.id] = claim
        try:
            if account.kept_sealed or self._has_stash(account.id):
                return Revoked(
                    account.id,
                    Revocation.BUSY,
                    "a newer answer waits to be stored: let a refresh store it first",
                )
        except (RedisError, OSError) as error:
            reason = f"Redis can't be asked for newer answers: {error}"
            return Revoked(account.id, Revocation.FAILED, reason, AGAIN_AFTER_S)
        return self._asked(account)

    def give_back(self, account_id: str) -> None:
        """Let workers have an account again that is not removed."""
        claim = self._claims.pop(account_id, None)
        if claim is not None:
            self._accounts.unclaim(account_id, claim)

    def _asked(self, account: Account) -> Revoked:
        provider = self._provider_of(account)
        if provider is None:
            return Revoked(account.id, Revocation.UNSUPPORTED, "its provider is not known")
        try:
            opened = UnsealedAccount(account, self._sealer, self._client_of(account))
            request = opened.request(provider)
            if unreadable := opened.unreadable():
                return Revoked(account.id, Revocation.FAILED, str(unreadable[0]))
            own_url = "revocation_url" in json.loads(account.knobs)
            wanted = revocation_request(request, now=self._clock.now(), own_url=own_url)
        except (CipherError, InvalidRequest) as error:
            return Revoked(account.id, Revocation.FAILED, str(error))
        if wanted is Revocation.UNSUPPORTED:
            return Revoked(account.id, wanted, f"{provider.name} has no revocation_url for it")
        if isinstance(wanted, Revocation):
            return Revoked(account.id, wanted, "it holds no token")

        async def call() -> Answer:
            deadline = asyncio.get_running_loop().time() + self._call_timeout_s
            return await self._client.call(wanted, deadline=deadline)

        with self._slot(wanted):
            answer = self._runner.run(call())
        outcome, reason = read_revocation(answer)
        again_after_s = None
        if outcome is Revocation.FAILED and asked_in_vain(answer):
            again_after_s = min(answer.retry_after_s or AGAIN_AFTER_S, AGAIN_AFTER_MAX_S)
        return Revoked(account.id, outcome, reason, again_after_s)
