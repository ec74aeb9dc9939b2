"""The Redis contract: key names and payloads, defined once for the worker and every reader.

`docs/redis.md` describes the same for people who write a reader in another language.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

#: What an account id may look like. Braces are excluded, so `{ID}` is one Redis Cluster hash tag.
ACCOUNT_ID: Final = re.compile(r"[A-Za-z0-9._:@-]{1,128}")

DEFAULT_PREFIX: Final = "refreshd:"

#: Holds the access token where workers and readers share a key (`sealing.py`); there is no `access_token` then.
SEALED_FIELD: Final = "sealed_access_token"

#: The reason of an account that an operator paused: it is not refreshed until the pause is over.
PAUSED: Final = "paused"

#: The payload's own fields; every other field of the hash is an extra that the provider returned for use.
TOKEN_FIELDS: Final = frozenset(
    {"access_token", "token_type", "scope", "issued_at", "expires_at", "generation", SEALED_FIELD}
)

#: `refreshd:rejected` keeps about this many reports. Consumed ones are never read again, so the cap only bounds
#: what piles up while no worker runs: 10 MB at most.
REJECTED_MAXLEN: Final = 100_000


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of every Redis key, under one prefix (`REFRESHD_REDIS_PREFIX`)."""

    prefix: str = DEFAULT_PREFIX

    def token(self, account: str) -> str:
        return f"{self.prefix}token:{{{account}}}"

    def account(self, account: str) -> str:
        return f"{self.prefix}account:{{{account}}}"

    def lock(self, account: str) -> str:
        return f"{self.prefix}lock:{{{account}}}"

    def stash(self, account: str) -> str:
        return f"{self.prefix}stash:{{{account}}}"

    def answer(self, account: str) -> str:
        return f"{self.prefix}answer:{{{account}}}"

    @property
    def events(self) -> str:
        return f"{self.prefix}events"

    @property
    def announce(self) -> str:
        return f"{self.prefix}announce"

    @property
    def rejected(self) -> str:
        return f"{self.prefix}rejected"


@dataclass(frozen=True, slots=True)
class Token:
    """A published access token, as a connector uses it.

    Times are epoch seconds (UTC). `expires_at` is None where the provider named no end. `extra` holds
    what the provider returned for use beside the token, such as Salesforce's `instance_url`.
    """

    access_token: str = field(repr=False)
    generation: int
    token_type: str = "Bearer"
    scope: str | None = None
    issued_at: float | None = None
    expires_at: float | None = None
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def to_hash(self) -> dict[str, str]:
        """Return the fields of `refreshd:token:{ACCOUNT}`; what is unknown has no field."""
        payload = {name: value for name, value in self.extra.items() if name not in TOKEN_FIELDS}
        payload["access_token"] = self.access_token
        payload["token_type"] = self.token_type
        payload["generation"] = str(self.generation)
        if self.scope is not None:
            payload["scope"] = self.scope
        if self.issued_at is not None:
            payload["issued_at"] = seconds_text(self.issued_at)
        if self.expires_at is not None:
            payload["expires_at"] = seconds_text(self.expires_at)
        return payload

    @classmethod
    def from_hash(cls, payload: Mapping[str, str]) -> Token:
        """Read the fields of `refreshd:token:{ACCOUNT}`.

        Raises:
            KeyError: `access_token` or `generation` is missing.
            ValueError: a number can't be read.
        """
        rest: dict[str, Any] = dict(payload)  # what is taken out here is ours, what stays is the provider's
        return cls(
            rest.pop("access_token"),
            int(rest.pop("generation")),
            rest.pop("token_type", None) or "Bearer",
            rest.pop("scope", None),
            _seconds(rest.pop("issued_at", None)),
            _seconds(rest.pop("expires_at", None)),
            MappingProxyType(rest),
        )


@dataclass(frozen=True, slots=True)
class AccountState:
    """`refreshd:account:{ACCOUNT}`: why there is a token, or none.

    `since` is when the account came into `status` (epoch seconds), so that a person reads
    "reauthorize: invalid_grant since ...". What is unknown is an empty field: an older value must not stay.
    """

    status: str
    generation: int
    reason: str | None = None
    next_refresh_at: float | None = None
    since: float | None = None

    def to_hash(self) -> dict[str, str]:
        """Return the fields of `refreshd:account:{ACCOUNT}`."""
        return {
            "status": self.status,
            "generation": str(self.generation),
            "reason": self.reason or "",
            "next_refresh_at": "" if self.next_refresh_at is None else seconds_text(self.next_refresh_at),
            "since": "" if self.since is None else seconds_text(self.since),
        }

    @classmethod
    def from_hash(cls, payload: Mapping[str, str]) -> AccountState:
        """Read the fields of `refreshd:account:{ACCOUNT}`.

        Raises:
            KeyError: `status` or `generation` is missing.
            ValueError: a number can't be read.
        """
        return cls(
            status=payload["status"],
            generation=int(payload["generation"]),
            reason=payload.get("reason") or None,
            next_refresh_at=_seconds(payload.get("next_refresh_at")),
            since=_seconds(payload.get("since")),
        )


@dataclass(frozen=True, slots=True)
class Announcement:
    """One message on `refreshd:announce`: what is published of this account has changed.

    `generation` is the token's that is there now, 0 after the account was removed.
    """

    account: str
    generation: int

    def to_text(self) -> str:
        return f"{self.account} {self.generation}"

    @classmethod
    def from_text(cls, text: str) -> Announcement:
        """Read a message.

        Raises:
            ValueError: the message is not `ACCOUNT GENERATION`.
        """
        account, generation = text.split(" ")
        return cls(account, int(generation))


@dataclass(frozen=True, slots=True)
class Rejection:
    """One entry of `refreshd:rejected`: an API refused this generation of the account's token."""

    account: str
    generation: int
    http_status: int

    def to_entry(self) -> dict[str, str]:
        """Return the fields of the stream's entry."""
        return {
            "account": self.account,
            "generation": str(self.generation),
            "http_status": str(self.http_status),
        }

    @classmethod
    def from_entry(cls, fields: Mapping[str, str]) -> Rejection:
        """Read the fields of an entry.

        Raises:
            KeyError: a field is missing.
            ValueError: a number can't be read, or `account` is not an account id.
        """
        account = fields["account"]
        if not ACCOUNT_ID.fullmatch(account):
            raise ValueError(f"not an account id: {account[:200]!r}")
        return cls(account, int(fields["generation"]), int(fields["http_status"]))


def seconds_text(at: float) -> str:
    """Return epoch seconds as text: whole if whole, else with milliseconds."""
    return str(int(at)) if at == int(at) else f"{at:.3f}"


def _seconds(text: str | None) -> float | None:
    if not text:
        return None
    at = float(text)
    if not math.isfinite(at):
        raise ValueError(f"not a point in time: {text!r}")
    return at
