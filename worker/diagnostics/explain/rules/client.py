"""Findings about a client that the provider refuses: what it lacks, and what to type. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from models.account_state import Status
from models.providers import ClientAuth
from worker.diagnostics.explain.facts import Facts, Finding
from worker.durations import duration
from worker.policy.reasons import message_of
from worker.policy.reasons.correction import (
    CLIENT_CERTIFICATE_REFUSED,
    CLIENT_REFUSED,
    CLIENT_UNKNOWN,
    INVALID_CLIENT,
    UNAUTHORIZED_CLIENT,
)
from worker.policy.verdicts.causes import Cause, cause_of

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt

#: The end of a client's secret is a finding so long before.
ENDS_SOON_S: Final = 7 * 86_400.0
#: Reasons that concern the client.
OF_THE_CLIENT: Final = frozenset(
    {INVALID_CLIENT, CLIENT_REFUSED, UNAUTHORIZED_CLIENT, CLIENT_CERTIFICATE_REFUSED}
)
_WITH_SECRET: Final = frozenset({ClientAuth.BODY, ClientAuth.BASIC, ClientAuth.BASIC_RAW})


def client_id_missing(facts: Facts, last: Attempt | None, said: str) -> Finding | None:
    """Return that the provider wants the client's id as a parameter; None where it does not say so."""
    if last is None or cause_of((last.error, last.error_description)) is not Cause.CLIENT_ID_MISSING:
        return None
    account = facts.account
    if account.client_id is None:
        return Finding(
            "client_id_missing",
            f"The account has no client_id, and the provider wants one.{said}",
            f"`refreshd accounts edit {account.id} client_id=ID`; it is refreshed again at once.",
        )
    return Finding(
        "client_id_missing",
        f"The provider wants client_id among the parameters, where `client_auth` {_auth(facts)} sends none.{said}",
        f"""`refreshd accounts edit {account.id} params='{{"client_id": "${{account.client_id}}"}}'`; or for all accounts of """
        'the provider, in your providers file, `params: {client_id: "${account.client_id}"}`.',
    )


def client_refused(facts: Facts, reason: str, said: str) -> Finding:
    """Return why the provider may refuse the client, and what mends that."""
    why, remedy = _why(facts)
    return Finding(
        "client_refused",
        f"The provider refuses the client, not the grant: {message_of(reason)}{said} {why}",
        f"{remedy}; it is refreshed again at once.",
    )


def _why(facts: Facts) -> tuple[str, str]:
    account, auth = facts.account, _auth(facts)
    edit = f"`refreshd accounts edit {account.id}"
    if auth is ClientAuth.PRIVATE_KEY_JWT:
        return (
            "Probably its private key is not, or no longer, registered there.",
            f"{edit} custom_fields.private_key=@FILE`",
        )
    if auth is ClientAuth.MTLS:
        fields = "custom_fields.client_certificate=@FILE custom_fields.client_key=@FILE"
        return _of_certificate(facts), f"{edit} {fields}`"
    holder = account if facts.client is None else facts.client
    if account.client is not None:
        edit = f"`refreshd clients edit {account.client}"
    if auth in _WITH_SECRET and holder.client_secret_sealed is None:
        who = "account" if account.client is None else f"client {account.client}"
        return (
            f"The {who} has no client secret, and `client_auth` is {auth}.",
            f"{edit} client_secret=@FILE`, or for a public client {edit} client_auth=none`",
        )
    if auth in {ClientAuth.BASIC, ClientAuth.BASIC_RAW} and facts.form_encoding_matters:
        other = ClientAuth.BASIC_RAW if auth is ClientAuth.BASIC else ClientAuth.BASIC
        why = (
            "Its id or secret has letters that form-encoding changes (RFC 6749 section 2.3.1), and many providers want "
            f"them the other way than `client_auth` {auth} sends them. Or its secret was replaced, or has ended."
        )
        return (
            why,
            f"{edit} client_auth={other}`; if that is refused, {edit} client_secret=@FILE client_auth={auth}`",
        )
    ends_at = None if facts.client is None else facts.client.secret_expires_at
    if facts.registration is not None:
        why = (
            f"It was registered with {facts.registration.issuer}, which may have forgotten it: it is registered again where the "
            "server says so for an hour, or refuses it for a day."
        )
        return why, f"Nothing yet; {edit} client_secret=@FILE` where another program replaced its secret"
    if ends_at is not None and ends_at <= facts.now:
        ago = duration(facts.now - ends_at)
        return f"The secret of its client {account.client} ended {ago} ago.", f"{edit} client_secret=@FILE`"
    return "Probably its client secret was replaced, or has ended.", f"{edit} client_secret=@FILE`"


def _auth(facts: Facts) -> ClientAuth:
    own = facts.account.client_auth
    return ClientAuth(own) if own else (facts.provider.client_auth if facts.provider else ClientAuth.BODY)


def _of_certificate(facts: Facts) -> str:
    ends_at = facts.certificate_ends_at
    if ends_at is None:
        return "Probably its client certificate has ended, or is not registered there."
    days = abs(ends_at - facts.now) / 86_400
    if ends_at <= facts.now:
        return f"Its client certificate ended {days:.1f} days ago."
    return f"Its client certificate holds for {days:.1f} days more: probably it is not registered there."


def named_client(facts: Facts) -> Iterator[Finding]:
    """Return that the client which the account names is not stored, or that its secret comes to its end."""
    name, client = facts.account.client, facts.client
    if name is None:
        return
    if client is None:
        yield Finding(
            CLIENT_UNKNOWN,
            f"The account names a client {name!r}, and none of this name is stored: nothing can be sent.",
            f"`refreshd clients add {name} ...`, or `refreshd accounts edit {facts.account.id} client=OTHER`.",
        )
        return
    ends_at = client.secret_expires_at
    if ends_at is None or facts.account.status == Status.MISCONFIGURED or ends_at > facts.now + ENDS_SOON_S:
        return
    left_s = ends_at - facts.now
    when = f"ends in {duration(left_s)}" if left_s > 0 else f"ended {duration(-left_s)} ago"
    yield Finding(
        "client_secret_ends",
        f"The secret of its client {name} {when}: the provider refuses all accounts of the client from then on.",
        f"`refreshd clients edit {name} client_secret=@FILE client_secret_expires_at=TIME` with a new one.",
        wrong=left_s <= 0,
    )
