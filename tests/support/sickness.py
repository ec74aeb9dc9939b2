"""The ways in which an account, its client or its host can be ill, as data: for tests, and for `benchmarks.isolation`.

A neighbourhood is a few healthy accounts and a few sick ones with the same provider name and client. A sick account is
of one of two sorts: it *never* worked, or it is *proven*, which means that it worked until it turned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from tests.support.providers.grants import Fault, Grant, refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider

CLIENT_SECRET: Final = "secret"
#: A name that no resolver knows (RFC 2606).
NOWHERE: Final = "https://nowhere.invalid/token"
#: Long enough to keep a client paused for longer than any of its tokens lives.
RETRY_AFTER_S: Final = 300
#: Calls a second at an origin that answers nothing but 503, however many accounts it has: at most, on average.
CALLS_PER_S: Final = 5.0
#: ... and so many more, for what was due or under way when it went down.
CALLS_SLACK: Final = 20


class Where(StrEnum):
    """Where the sick accounts' token URL leads."""

    SAME_ORIGIN = "same_origin"
    OTHER_PORT = "other_port"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sickness:
    """One kind of trouble.

    Args:
        name: for ids of accounts and of tests.
        fault: what the sick accounts hear.
        fields: what their rows say otherwise than the healthy ones'.
        where: whom they ask.
        proven: how many worked before they turned.
        never: how many never worked.
    """

    name: str
    fault: Fault
    fields: Mapping[str, str] = field(default_factory=dict)
    where: Where = Where.SAME_ORIGIN
    proven: int = 3
    never: int = 1


SICKNESSES: Final = (
    Sickness(name="wrong-secret", fault=Fault.INVALID_CLIENT, fields={"client_secret": "of another client"}),
    Sickness(name="wrong-client-auth", fault=Fault.INVALID_CLIENT, fields={"client_auth": "basic"}),
    Sickness(name="wrong-client-auth-of-one", fault=Fault.INVALID_CLIENT, fields={"client_auth": "basic"}, proven=0),
    Sickness(name="401-without-code", fault=Fault.UNAUTHORIZED),
    Sickness(name="401-without-code-of-one", fault=Fault.UNAUTHORIZED, proven=0),
    Sickness(name="403-without-code", fault=Fault.FORBIDDEN),
    Sickness(name="403-retry-after", fault=Fault.FORBIDDEN_FOR_A_WHILE),
    Sickness(name="429-retry-after", fault=Fault.RATE_LIMITED),
    Sickness(name="503", fault=Fault.UNAVAILABLE, proven=6),
    Sickness(name="503-retry-after", fault=Fault.UNAVAILABLE_FOR_A_WHILE),
    Sickness(name="time-out", fault=Fault.SILENT),
    Sickness(name="reset", fault=Fault.RESET),
    Sickness(name="redirect", fault=Fault.REDIRECTED),
    Sickness(name="hanging-host", fault=Fault.SILENT, where=Where.OTHER_PORT, proven=6),
    Sickness(name="unknown-host", fault=Fault.RESET, where=Where.NOWHERE, proven=0, never=10),
    Sickness(name="other-port-503", fault=Fault.UNAVAILABLE, where=Where.OTHER_PORT, proven=12, never=0),
    Sickness(name="other-port-429", fault=Fault.RATE_LIMITED, where=Where.OTHER_PORT),
    Sickness(name="ten-that-never-worked", fault=Fault.UNAVAILABLE, proven=0, never=10),
)  # fmt: skip


@dataclass
class Neighbourhood:
    """Healthy accounts beside sick ones: one provider name, one client, one host.

    Args:
        name: the provider's and the client's, and what ids begin with.
        sickness: of the sick ones.
        provider: whom the healthy ones ask.
        other: whom the sick ones ask, where that is another port.
        well: how many healthy ones.
    """

    name: str
    sickness: Sickness
    provider: ScriptedProvider
    other: ScriptedProvider | None = None
    well: int = 10
    #: The provider's and the client's name, where several neighbourhoods share them; else `name`.
    shared: str | None = None
    #: From here on the proven ones are sick.
    turned: bool = False

    def __post_init__(self) -> None:
        self._move_in(self.provider, self.healthy)
        if self._theirs is not None:
            self._move_in(self._theirs, self.sick)

    def _move_in(self, provider: ScriptedProvider, accounts: Sequence[str]) -> None:
        """Make grants at a provider, and say what happens to their calls; others keep what was said of theirs."""
        mine, others = frozenset(accounts), provider.script
        provider.grant(accounts)
        provider.retry_after_s = RETRY_AFTER_S
        provider.script = lambda grant: self.fault(grant) if grant.account in mine else others(grant)

    @property
    def healthy(self) -> list[str]:
        return [f"{self.name}-well-{number}" for number in range(self.well)]

    @property
    def proven(self) -> list[str]:
        return [f"{self.name}-proven-{number}" for number in range(self.sickness.proven)]

    @property
    def never(self) -> list[str]:
        return [f"{self.name}-never-{number}" for number in range(self.sickness.never)]

    @property
    def sick(self) -> list[str]:
        return [*self.proven, *self.never]

    @property
    def _theirs(self) -> ScriptedProvider | None:
        """Whom the sick ones ask; None: there is no such host."""
        if self.sickness.where is Where.NOWHERE:
            return None
        return self.other if self.sickness.where is Where.OTHER_PORT else self.provider

    def fault(self, grant: Grant) -> Fault | None:
        """Return what a call hears."""
        sort = _sort(grant.account)
        return self.sickness.fault if sort == "never" or (sort == "proven" and self.turned) else None

    def rows(self, accounts: Iterable[str]) -> list[dict[str, str]]:
        """Return rows of an accounts file. They have no access token: the first refresh brings it."""
        rows = []
        for account in accounts:
            is_well = _sort(account) == "well"
            asked = self.provider if is_well else self._theirs
            rows.append(
                {
                    "id": account,
                    "provider": self.shared or self.name,
                    "client_id": f"client-{self.shared or self.name}",
                    "client_secret": CLIENT_SECRET,
                    "client_auth": "body",
                    "refresh_token": refresh_token(account, 0),
                    "token_url": NOWHERE if asked is None else asked.token_url,
                    **({} if is_well else self.sickness.fields),
                }
            )
        return rows


def _sort(account: str) -> str:
    return account.rsplit("-", 2)[-2]


def write_providers(path: Path, names: Iterable[str]) -> None:
    """Write a providers file in which each is a provider of which nothing special is known."""
    path.write_text(json.dumps({name: {"extends": "generic"} for name in names}))


def write_accounts(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write an accounts file (JSON Lines)."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
