"""Findings about an account's issuer: its metadata, and a client that was registered with it (RFC 7591). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from models.account_state import Status
from worker.diagnostics.explain.facts import Facts, Finding
from worker.durations import duration
from worker.policy.reasons import REASONS
from worker.policy.reasons.discovery import REGISTRATION_EXPIRED, REGISTRATION_FORGOTTEN

#: Its secret's end is renewed within this time (`worker/intake/upkeep.py`).
_SOON_S = 7 * 86_400.0


def registration(facts: Facts) -> Iterator[Finding]:
    """Return that the account's client could not be renewed, ends without being renewable, or was registered again."""
    found, account = facts.registration, facts.account
    if found is None:
        return
    ends_at = None if facts.client is None else facts.client.secret_expires_at
    ends_soon = ends_at is not None and ends_at <= facts.now + _SOON_S
    if found.failure is not None or (ends_soon and not found.is_managed):
        yield Finding(
            REGISTRATION_EXPIRED if ends_soon else "registration_not_kept",
            f"Its client {account.client} was registered with {found.issuer}, "
            + (
                f"and the server did not renew it: {found.failure}"
                if found.failure is not None
                else "which lets no registration be renewed (RFC 7592)."
            ),
            f"{consent(facts)}: it gets a client that is registered then.",
            wrong=account.status != Status.ACTIVE,
        )
    if account.status == Status.REAUTHORIZE and found.registered_at > (account.issued_at or facts.now):
        ago = duration(facts.now - found.registered_at)
        yield Finding(
            REGISTRATION_FORGOTTEN,
            f"{REGISTRATION_FORGOTTEN.message} That was {ago} ago, after this account's grant: it went with the old id.",
            f"{consent(facts)}.",
        )


def metadata(facts: Facts) -> Iterator[Finding]:
    """Return that what the account's issuer says of itself can't be used any more: what was read before stays in use."""
    if facts.metadata_failure is None:
        return
    code, words = facts.metadata_failure
    reason = REASONS.get(code)
    yield Finding(
        code,
        f"The metadata of its issuer could not be read again, and those that were read before stay in use: {words}",
        f"{'' if reason is None else reason.action}.",
        wrong=facts.account.status != Status.ACTIVE,
    )


def consent(facts: Facts) -> str:
    """Return how the account's owner consents again."""
    resource = None if facts.provider is None else facts.provider.resource
    mcp = "" if resource is None else f" --mcp {resource}"
    return f"A Connect session, or `refreshd accounts authorize {facts.account.id}{mcp}`"
