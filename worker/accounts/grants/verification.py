"""A grant tried before it is stored: one refresh, whose answer is what is stored where it succeeds.

The refresh token that was given may be spent by it, so a success is not let go of: it is stored, or parked in Redis until
the database takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from models.answer import Answer
from models.providers import GrantType, Provider
from models.refresh_request import RefreshRequest
from models.tables.account import Account, RefreshMethod
from models.tables.client import Client
from models.token import Secret, TokenResponse
from worker.accounts.entry import Problem, RowRefused
from worker.accounts.grants.replacement import Grant
from worker.accounts.validation import AccountValidator
from worker.crypto.sealer import AccountSealer
from worker.policy.gate_signals import CLIENT_REASONS
from worker.policy.reasons import message_of
from worker.policy.verdicts.verdict import judge
from worker.providers.client import ProviderClient


class Unverified(RowRefused):
    """The provider did not refresh the grant. `verdict` says how it was judged; nothing was stored."""

    def __init__(self, verdict: dict[str, Any], reason: str) -> None:
        field = "client" if verdict.get("reason") in CLIENT_REASONS else "refresh_token"
        super().__init__([Problem(field, reason)])
        self.verdict = verdict


class Verifier(Struct, frozen=True):
    """Tries grants.

    Args:
        sealer: opens the account's other secrets.
        checker: finds providers.
        client_of: finds the client that an account names.
        client: calls token endpoints.
        now: the database's clock, epoch seconds.
        call_timeout_s: for one whole call.
    """

    sealer: AccountSealer
    checker: AccountValidator
    client_of: Callable[[Account], Client | None]
    client: ProviderClient
    now: Callable[[], float]
    call_timeout_s: float

    async def verify(self, grant: Grant, account: Account) -> Grant:
        """Return the grant as one refresh leaves it.

        Raises:
            Unverified: the provider gave no token.
            RowRefused: this grant can't be tried.
            CipherError: another secret of the account does not open.
        """
        asked = self.asked(grant, account)
        sent_at = self.now()
        deadline = asyncio.get_running_loop().time() + self.call_timeout_s
        answer = await self.client.call(asked, deadline=deadline)
        tokens = _tokens(answer, grant)
        if tokens is None:
            raise _unverified(answer, asked.provider)
        issued_at = grant.issued_at if answer.token is None else sent_at
        return replace(
            grant,
            tokens=tokens,
            issued_at=issued_at,
            response={},
            may_be_repeated=False,
            given=grant.fingerprints,
        )

    def asked(self, grant: Grant, account: Account) -> RefreshRequest:
        """Return the refresh that tries a grant.

        Raises:
            RowRefused: this grant can't be tried.
            CipherError: another secret of the account does not open.
        """
        provider = self._checked(grant, account)
        request = self.sealer.request(account, provider, client=self.client_of(account))
        return replace(
            request,
            refresh_token=grant.tokens.refresh_token,
            access_token=grant.tokens.access_token or None,
            scope=grant.tokens.scope or account.scope,
        )

    def _checked(self, grant: Grant, account: Account) -> Provider:
        provider = self.checker.provider(account)
        if account.refresh_method == RefreshMethod.CALLBACK:
            reason = "an account that a callback refreshes is not tried: store the grant without it"
            raise RowRefused([Problem("verify", reason)])
        if provider.grant is GrantType.REFRESH_TOKEN and grant.tokens.refresh_token is None:
            raise RowRefused([Problem("refresh_token", "is missing: it is what is tried")])
        return provider


def _tokens(answer: Answer, grant: Grant) -> TokenResponse | None:
    """Return what is stored of an answer; None where it brought nothing."""
    if answer.token is not None:
        return replace(answer.token, refresh_token=answer.token.refresh_token or grant.tokens.refresh_token)
    if answer.refresh_token is not None:  # the given one may be spent
        return replace(
            grant.tokens,
            refresh_token=answer.refresh_token,
            access_token=grant.tokens.access_token or Secret(""),
        )
    return None


def _unverified(answer: Answer, provider: Provider) -> Unverified:
    judgement = judge(answer, provider.error_rules)
    verdict = {
        "verdict": judgement.verdict.value,
        "reason": str(judgement.reason),
        "message": message_of(judgement.reason),
        "http_status": answer.status,
        "error": answer.error,
        "error_description": answer.error_description,
    }
    said = answer.error_description or answer.fault_detail or answer.error
    words = f"{verdict['message']} The provider: {said}" if said else str(verdict["message"])
    return Unverified({name: value for name, value in verdict.items() if value is not None}, words)
