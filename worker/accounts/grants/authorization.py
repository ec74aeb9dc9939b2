"""An account that consent is asked for: what it is asked with, and the entry that its answer makes."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from models.answer import Answer
from models.provider_requirements import check
from models.providers import WITH_CONSENT
from models.refresh_request import RefreshRequest
from models.tables.account import Account, RefreshMethod
from models.token import Secret, TokenResponse
from worker.accounts.apply import GENERIC
from worker.accounts.configuration import KnownClients, configure
from worker.accounts.entry import AccountEntry, Problem, RowRefused
from worker.accounts.unsealed import UnsealedAccount
from worker.accounts.validation import AccountValidator
from worker.crypto.sealer import ACCESS_TOKEN, REFRESH_TOKEN, AccountSealer
from worker.db.accounts.stored import blank

#: Stands where the consent will bring a token, so that only what else is missing is named.
_TO_COME: Final = Secret("to come")


def request_of(
    entry: AccountEntry,
    account: Account | None,
    *,
    sealer: AccountSealer,
    checker: AccountValidator,
    clients: KnownClients | None = None,
) -> RefreshRequest:
    """Return what consent is asked with: the stored account, or a new one, as the entry wants it. Nothing is stored.

    Args:
        entry: what the person or the platform says of the account.
        account: as it is stored; None: it is new.
        sealer: opens secrets.
        checker: finds the provider.
        clients: what the entry may name as `client`; None: none is known.

    Raises:
        Refused: with everything that is missing or wrong.
    """
    client = None
    if clients is not None:
        clients.read([entry], [account] if account is not None else [])
        client = clients.of(entry, account)
    provider_name = GENERIC if client is None else client.provider
    opened = UnsealedAccount(account or blank(entry.id, provider=provider_name), sealer)
    configure(opened, entry, client)
    is_named = account is not None or client is not None or "provider" in entry.settings
    if not is_named and opened.account.token_url is None:
        raise RowRefused(
            [
                Problem(
                    "provider",
                    f"is missing (or token_url), and no account {entry.id!r} is stored that has one",
                )
            ]
        )
    provider = checker.provider(opened.account)
    request = opened.request(provider)
    if "scope" in entry.of_the_token:
        request = replace(request, scope=entry.text("scope"))
    if provider.grant not in WITH_CONSENT:
        raise RowRefused(
            [Problem("provider", f"{provider.name} asks nobody for consent: its grant is {provider.grant}")]
        )
    problems = [Problem("client_id", f"{provider.name} needs it")] if not request.client_id else []
    if provider.authorize_url is None and provider.device_url is None:
        problems.append(
            Problem(
                "authorize_url",
                f"nothing is known of where {opened.account.provider} asks for consent; give its page as "
                "authorize_url=https://...",
            )
        )
    # A callback gets its first grant as anybody does.
    lacking = check(
        provider,
        replace(request, refresh_method=RefreshMethod.BODY, refresh_token=_TO_COME, access_token=_TO_COME),
    )
    problems += [Problem(field, reason) for field, _, reason in (one.partition(": ") for one in lacking)]
    if problems or opened.unreadable():
        raise RowRefused(opened.unreadable() or list({one.field: one for one in problems}.values()))
    return request


def tokens_of(answer: Answer) -> TokenResponse | None:
    """Return what a consent's answer brought, None where that is no token.

    A refresh token may come alone, with an empty access token: the code is spent, and a refresh brings the rest.
    """
    if answer.token is None and answer.refresh_token is not None:
        return TokenResponse(Secret(""), refresh_token=answer.refresh_token)
    return answer.token


def with_grant(
    entry: AccountEntry, granted: TokenResponse, *, asked_scope: str | None, issued_at: float
) -> AccountEntry:
    """Return the entry with the tokens of an answer. `issued_at` (epoch seconds) is when it was asked for.

    RFC 6749 section 5.1: a scope that is not named is the one that was asked for.
    """
    of_the_token: dict[str, str | float | None] = {"scope": granted.scope or asked_scope}
    if granted.access_token:
        of_the_token |= {
            "token_type": granted.token_type,
            "issued_at": issued_at,
            "expires_in": granted.expires_in_s,
            "expires_at": granted.expires_at,
        }
    return replace(
        entry,
        secrets={
            **entry.secrets,
            ACCESS_TOKEN: granted.access_token or None,
            REFRESH_TOKEN: granted.refresh_token,
        },
        of_the_token={name: value for name, value in of_the_token.items() if value is not None},
        granted=granted,
    )
