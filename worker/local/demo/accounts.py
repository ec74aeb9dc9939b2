"""The demo's accounts: every session policy, both request styles, both client authentications, and two that fail."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from models.tables.account import RefreshMethod, SessionManagement
from worker.local.demo.provider.admin import account_row
from worker.local.demo.provider.grants import Grants, GrantSpec

DEFAULT_NUMBER: Final = 36
#: What the accounts of a demo are called.
DEMO_ID: Final = re.compile(r"demo-\d{2,}|my-first")
#: A grant that no account has yet: README has the reader add one of their own.
FIRST: Final = GrantSpec(id="my-first", client_id="my-client", client_secret="my-secret", lifetime_s=60)

#: Short, so that something happens all the time.
LIFETIMES_S: Final = (20, 30, 45, 60, 90, 120)
#: These are never refreshed, so they live longer than a person watches.
NONE_LIFETIME_S: Final = 3600
#: Every so manieth account has session management `none`.
_EVERY_NONE: Final = 12
#: The two that fail stand near the top, where every screen shows them.
_REVOKED: Final = 3
_WRONG_SECRET: Final = 4


class Story(StrEnum):
    """What an account is there to show."""

    REVOKED = "its owner revokes the grant after a while"
    WRONG_SECRET = "its client secret is wrong"


class AccountKind(Struct, frozen=True):
    """A provider's way, as its accounts have it."""

    provider: str
    refresh_method: RefreshMethod
    client_auth: str
    #: `fixed` after so many seconds; None: `auto`.
    session_timeout_s: int | None = None


KINDS: Final = (
    AccountKind("acorn-crm", RefreshMethod.BODY, "body"),
    AccountKind("birch-books", RefreshMethod.BODY, "basic"),
    AccountKind("cedar-shop", RefreshMethod.URL_QUERY, "body"),
    AccountKind("delta-desk", RefreshMethod.URL_QUERY, "basic"),
    AccountKind("elder-mail", RefreshMethod.BODY, "basic", session_timeout_s=40),
    AccountKind("fjord-files", RefreshMethod.URL_QUERY, "body", session_timeout_s=25),
)


class DemoAccount(Struct, frozen=True):
    """One account: the grant that the provider knows, and its row in the accounts file."""

    grant: GrantSpec
    kind: AccountKind
    session_management: SessionManagement
    story: Story | None = None

    @property
    def id(self) -> str:
        return self.grant.id

    @property
    def policy(self) -> str:
        """Say the session policy in a few characters: `auto 20s`, `fixed 40s`, `none`."""
        match self.session_management:
            case SessionManagement.NONE:
                return "none"
            case SessionManagement.FIXED:
                return f"fixed {self.kind.session_timeout_s}s"
            case SessionManagement.AUTO:
                return f"auto {self.grant.lifetime_s:g}s"

    def row(self, grants: Grants, token_url: str) -> dict[str, Any]:
        """Return its line of the accounts file."""
        row = {
            "id": self.id,
            "provider": self.kind.provider,
            "refresh_method": self.kind.refresh_method.value,
            "session_management": self.session_management.value,
            **account_row(grants, grants.by_id[self.id], token_url=token_url),
        }
        if self.session_management is SessionManagement.FIXED:
            row["session_timeout_s"] = self.kind.session_timeout_s
        if self.story is Story.WRONG_SECRET:
            row["client_secret"] = "as-it-was-last-year"
        return row


def demo_accounts(number: int = DEFAULT_NUMBER) -> list[DemoAccount]:
    """Return so many accounts; the same ones each time."""
    return [_account(position) for position in range(1, number + 1)]


def accounts_file(accounts: Sequence[DemoAccount], grants: Grants, *, token_url: str, now: float) -> str:
    """Return the accounts as JSON Lines, as `refreshd accounts import` reads them."""
    for account in accounts:
        grants.put(account.grant, now=now)
    return "".join(json.dumps(account.row(grants, token_url)) + "\n" for account in accounts)


def _account(position: int) -> DemoAccount:
    kind = KINDS[(position - 1) % len(KINDS)]
    lifetime_s: float = LIFETIMES_S[(position - 1 + (position - 1) // len(KINDS)) % len(LIFETIMES_S)]
    session = SessionManagement.AUTO
    client = kind.provider
    story: Story | None = None
    if position % _EVERY_NONE == 0:
        session, lifetime_s = SessionManagement.NONE, NONE_LIFETIME_S
    elif kind.session_timeout_s is not None:
        # The provider's life is longer than the operator's clock: that is when `fixed` is right.
        session, lifetime_s = SessionManagement.FIXED, 2 * kind.session_timeout_s
    if position == _REVOKED:
        story = Story.REVOKED
    elif position == _WRONG_SECRET:
        story, client, lifetime_s = Story.WRONG_SECRET, f"{kind.provider}-old", LIFETIMES_S[0]
    grant = GrantSpec(
        id=f"demo-{position:02d}",
        client_id=client,
        # Characters that Basic authentication must encode (RFC 6749 section 2.3.1).
        client_secret=f"{client}: 100% secret+",
        client_auth="basic" if kind.client_auth == "basic" else "body",
        scope="profile read",
        lifetime_s=lifetime_s,
    )
    return DemoAccount(grant, kind, session, story)
