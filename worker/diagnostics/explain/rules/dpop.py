"""Findings about proof of possession (DPoP, RFC 9449). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from models.account_state import RefreshMethod, Status
from models.outcome import Outcome
from models.providers.dpop import KEY_FIELD, NOT_OF_THE_GRANT, TOKEN_TYPE, is_bound
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.provider import (
    last_call,
)
from worker.policy.reasons.correction import DPOP_KEY_MISMATCH, DPOP_KEY_UNFIT, INVALID_DPOP_PROOF
from worker.policy.reasons.passing import DPOP_NONCE_REQUIRED

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt

#: How an attempt's request names the key that signed it (`worker/providers/request/builder.py`).
_SIGNED_BY: Final = re.compile(r" dpop\((?:nonce, )?key ([\w-]+)\)")


def possession(facts: Facts) -> Iterator[Finding]:
    """Return what is wrong with the account's key or its proofs."""
    account, provider = facts.account, facts.provider
    if account.refresh_method == RefreshMethod.CALLBACK or provider is None:
        return
    last = last_call(facts.attempts)
    reason = last.reason if last else None
    said = f' It said: "{last.error_description}".' if last and last.error_description else ""
    give_key = f"`refreshd accounts edit {account.id} custom_fields.{KEY_FIELD}=@FILE`"
    if provider.dpop is None:
        if reason in {INVALID_DPOP_PROOF, DPOP_NONCE_REQUIRED}:
            yield Finding(
                "dpop_is_off",
                f"The provider wants a proof of possession (DPoP), and none is sent.{said}",
                f"{give_key.removesuffix('`')} dpop=true`, with the key that the grant was made with.",
            )
        return
    if mismatch := _mismatch(facts):
        yield Finding(
            DPOP_KEY_MISMATCH,
            f"Nothing is sent, because a wrong key can end the grant: {mismatch}",
            f"{give_key}: the private key that the grant was made with. If it is lost: `refreshd accounts authorize {account.id}`.",
        )
    elif unfit := key_error(facts) or (DPOP_KEY_UNFIT.message if reason == DPOP_KEY_UNFIT else None):
        yield Finding(
            DPOP_KEY_UNFIT,
            f"No proof of possession can be made: {unfit}",
            f"{give_key}: the private key that the grant was made with, PEM or JWK, fit for {provider.dpop}.",
        )
    elif reason == INVALID_DPOP_PROOF:
        yield Finding(
            "dpop_proof_refused",
            f"{INVALID_DPOP_PROOF.message}{said}",
            f"Compare `dpop` ({provider.dpop}) with what the provider takes, the token URL with the one it publishes, and "
            "the database's clock with its.",
        )
    elif reason == DPOP_NONCE_REQUIRED:
        yield Finding(
            "dpop_nonce_fails",
            f"{DPOP_NONCE_REQUIRED.message}{said}",
            "It is tried again by itself, with the newest nonce. If it lasts: does something between here and there take "
            "the header DPoP-Nonce away, or do several servers behind one address not know each other's nonces?",
            wrong=account.status != Status.ACTIVE,
        )
    yield from _key_replaced(facts, last, give_key)
    if account.generation and account.access_token_sealed and not is_bound(account.token_type):
        yield Finding(
            "dpop_not_bound",
            f"Its requests prove possession, but its access token is not bound to the key (token_type "
            f"{account.token_type}, not {TOKEN_TYPE}): whoever has it can use it.",
            "Have the provider bind this client's tokens (`dpop_bound_access_tokens`), or take `dpop` back.",
            wrong=False,
        )


def key_error(facts: Facts) -> str | None:
    """Return why no proof can be made with the account as it is, None where one can be, or where that is unknown."""
    error = facts.url_error or ""
    return f"{error}." if error.startswith(f"custom_fields.{KEY_FIELD}: ") else None


def _mismatch(facts: Facts) -> str | None:
    """Return how the key differs from the access token's; by a worker's word where the key can't be opened here."""
    if NOT_OF_THE_GRANT in (error := key_error(facts) or ""):
        return error
    account = facts.account
    stopped = account.status == Status.MISCONFIGURED and account.reason == DPOP_KEY_MISMATCH
    return DPOP_KEY_MISMATCH.message if stopped else None


def _key_replaced(facts: Facts, last: Attempt | None, give_key: str) -> Iterator[Finding]:
    """Return advice for a public client: its refresh token is bound to its key, and a server answers a mere `invalid_grant`."""
    if facts.account.status != Status.REAUTHORIZE or last is None:
        return
    worked = next((one for one in facts.attempts if one.outcome == Outcome.REFRESHED), None)
    before, after = _signed_by(worked), _signed_by(last)
    if before and after and before != after:
        yield Finding(
            "dpop_key_replaced",
            f"The last refresh that worked was signed with the key {before}, the refused one with {after}: a refresh token "
            "may be bound to the key of its grant (RFC 9449 section 5).",
            f"{give_key} with the former key; it is refreshed again at once.",
        )


def _signed_by(attempt: Attempt | None) -> str | None:
    found = _SIGNED_BY.search(attempt.request or "") if attempt else None
    return found[1] if found else None
