"""What the provider's redirect brought: a code, or a reason why there is none. Pure: nothing is asked or stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from models.providers import Provider
from models.token import Secret
from worker.accounts.values import printable
from worker.connect import reasons
from worker.connect.reasons import ConnectReason
from worker.providers.authorization import ConsentPage

#: Longer is no code of any provider, and fits no request to a worker.
_CODE_MAX: Final = 8_192
_DETAIL_MAX: Final = 300
_ONCE: Final = ("state", "code", "error", "iss")


@dataclass(frozen=True, slots=True)
class SessionPage:
    """The consent page that a session's browser is sent to, and who may send it back."""

    page: ConsentPage
    #: What `iss` has to be; None: it is not known.
    issuer: str | None
    #: Hosts of the provider, one of which `iss` has to name where the issuer is not known.
    hosts: tuple[str, ...]

    @classmethod
    def of(cls, page: ConsentPage, provider: Provider, *urls: str | None) -> SessionPage:
        """Return the page of a provider that has these URLs beside it."""
        hosts = [urlsplit(url).hostname for url in (page.url, *urls) if url]
        return cls(page, provider.issuer, tuple(dict.fromkeys(host for host in hosts if host)))

    def to_text(self) -> str:
        return json.dumps(
            {"url": self.page.url, "names": dict(self.page.names), "issuer": self.issuer, "hosts": self.hosts}
        )

    @classmethod
    def of_text(cls, text: str) -> SessionPage:
        read = json.loads(text)
        return cls(ConsentPage(read["url"], read["names"]), read["issuer"], tuple(read["hosts"]))

    def is_from(self, iss: str) -> bool:
        """Return whether a redirect with this `iss` is the asked provider's (RFC 9207 section 2.4).

        Where the issuer's name is not known, its host has to be one of the provider's: an answer of another provider,
        which is what the check is against, has another.
        """
        if self.issuer is not None:
            return iss == self.issuer
        try:
            return urlsplit(iss).hostname in self.hosts
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class CodeReturned:
    """A code, and what else the redirect says of the account."""

    code: Secret
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NoCode:
    """Why there is no code."""

    reason: ConnectReason
    detail: str | None


def single(query: Sequence[tuple[str, str]]) -> dict[str, str] | None:
    """Return the parameters of a redirect, None where one that counts stands there twice (RFC 6749 section 3.1)."""
    names = [name for name, _ in query]
    return None if any(names.count(name) > 1 for name in _ONCE) else dict(query)


def read_redirect(parameters: Mapping[str, str], page: SessionPage) -> CodeReturned | NoCode:
    """Return what a redirect that brought the right state says."""
    iss = parameters.get("iss")
    if iss is not None and not page.is_from(iss):
        return NoCode(reasons.WRONG_ISSUER, _shown(iss))
    error = parameters.get("error")
    if error is not None:
        described = ": ".join(filter(None, (error, parameters.get("error_description"))))
        return NoCode(reasons.reason_of_redirect(error), _shown(described))
    code = parameters.get("code", "")
    if not 1 <= len(code) <= _CODE_MAX:
        return NoCode(reasons.PROVIDER_ERROR, "the redirect has neither a code nor an error")
    rest = {name: value for name, value in parameters.items() if name not in {"code", "state", "iss"}}
    return CodeReturned(Secret(code), rest)


def _shown(text: str) -> str:
    return printable(text)[:_DETAIL_MAX]
