"""The moment before a call's first byte."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from msgspec import Struct

from worker.providers.egress import DIRECT, Route


class NotSent(Exception):
    """The deadline was over when the connection stood ready: nothing was sent."""


class SentAlready(Exception):
    """A request is not sent twice: its refresh token may be spent."""


class Sending(Struct):
    """The moment before the first byte: the last look at the deadline, and the note that it was passed."""

    deadline: float
    clock: Callable[[], float]
    on_send: Callable[[], None] | None = None
    #: The client's certificate, where the provider wants one.
    tls: ssl.SSLContext | None = None
    route: Route = DIRECT
    #: A private address that this call was kept from.
    refused: str | None = None
    sent: bool = False

    @property
    def over(self) -> bool:
        return self.clock() >= self.deadline

    def begin(self) -> None:
        """Pass, once, or raise.

        Raises:
            NotSent: the deadline is over.
            SentAlready: this request passed before.
        """
        if self.sent:
            raise SentAlready
        if self.over:
            raise NotSent
        if self.on_send is not None:
            self.on_send()
        self.sent = True


#: The call that the running task is making.
SENDING: Final[ContextVar[Sending]] = ContextVar("refreshd_sending")
