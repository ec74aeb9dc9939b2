"""What a provider knows of its grants, and everything that it would object to."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

#: Calls of a grant that are remembered: enough to look back over any fault.
CALLS_KEPT: Final = 20


class Fault(StrEnum):
    """What goes wrong with one call."""

    #: Taken, and the connection closed without an answer: the new tokens are lost.
    ANSWER_DROPPED = "answer_dropped"
    #: Taken, and answered when nobody listens any more.
    DELAYED = "delayed"
    #: Taken, and answered with bytes that nobody can read.
    GARBAGE = "garbage"
    #: The connection is reset before the refresh token is looked at.
    RESET = "reset"
    #: 503, before the refresh token is looked at.
    UNAVAILABLE = "unavailable"
    #: 429 with Retry-After, before the refresh token is looked at.
    RATE_LIMITED = "rate_limited"
    #: 503 with Retry-After.
    UNAVAILABLE_FOR_A_WHILE = "unavailable_for_a_while"
    #: 401 `invalid_client`.
    INVALID_CLIENT = "invalid_client"
    #: 401 without an error code.
    UNAUTHORIZED = "unauthorized"
    #: 403 without an error code.
    FORBIDDEN = "forbidden"
    #: 403 with Retry-After.
    FORBIDDEN_FOR_A_WHILE = "forbidden_for_a_while"
    #: 400 `invalid_grant`, before the refresh token is looked at: a hiccup, or a grant that is dead for all that is seen.
    REFUSED = "refused"
    #: 500 `server_error` of a proxy whose upstream refused the grant.
    REFUSED_BEHIND_A_FAILURE = "refused_behind_a_failure"
    #: 302 to another address.
    REDIRECTED = "redirected"
    #: The request is read, and never answered.
    SILENT = "silent"

    @property
    def loses_the_answer(self) -> bool:
        """Return whether the refresh token is spent and nobody gets the new one."""
        return self in {Fault.ANSWER_DROPPED, Fault.DELAYED, Fault.GARBAGE}


@dataclass(slots=True, eq=False)
class Call:
    """One refresh request. Times are the monotonic clock's."""

    account: str
    serial: int
    #: The caller's TCP port on loopback, which says what process it was.
    port: int
    began_at: float
    fault: Fault | None = None
    #: The serial of the refresh token that the answer holds; None while nothing was granted.
    granted: int | None = None
    #: When the last byte of the answer was handed to the connection.
    answered_at: float | None = None


@dataclass(slots=True)
class Grant:
    """One account's grant. Its refresh tokens are numbered; only the latest is good, unless within the grace."""

    account: str
    #: How long a spent refresh token may be used again; None: its use is reuse, which revokes the grant.
    grace_s: float | None = None
    serial: int = 0
    rotated_at: float = 0.0
    revoked: bool = False
    under_way: int = 0
    overlaps: int = 0
    reuses: int = 0
    refreshes: int = 0
    #: How often the grant was made anew, after its owner consented again.
    consents: int = 0
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))

    def begin(self, call: Call) -> None:
        """Note that a call begins."""
        self.overlaps += self.under_way > 0
        self.under_way += 1
        self.calls.append(call)

    def end(self) -> None:
        """Note that a call is over."""
        self.under_way -= 1

    def exchange(self, call: Call) -> int | None:
        """Take a refresh token and give the number of the next; None, and an end to the grant, where it is spent."""
        now = time.monotonic()
        if self.revoked:
            return None
        if call.serial == self.serial:
            self.serial += 1
            self.rotated_at = now
        elif not self._graceful(call.serial, now):
            self.reuses += 1
            self.revoked = True
            return None
        self.refreshes += 1
        call.granted = self.serial
        return self.serial

    def consent(self) -> int:
        """Begin anew, as after the owner's consent; returns the number of the refresh token."""
        self.revoked = False
        self.serial += 1
        self.consents += 1
        return self.serial

    def _graceful(self, serial: int, now: float) -> bool:
        return (
            self.grace_s is not None and serial == self.serial - 1 and now - self.rotated_at <= self.grace_s
        )


def refresh_token(account: str, serial: int) -> str:
    """Return the refresh token that an account has after `serial` refreshes."""
    return f"rt.{serial}.{account}"


def access_token(account: str, serial: int) -> str:
    """Return the access token that came with it."""
    return f"at.{serial}.{account}"


def parse_refresh_token(text: str) -> tuple[str, int]:
    """Return account and serial.

    Raises:
        ValueError: it is none of ours.
    """
    kind, serial, account = text.split(".", 2)
    if kind != "rt":
        raise ValueError(f"no refresh token: {text[:80]!r}")
    return account, int(serial)
