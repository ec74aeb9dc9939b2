"""What the provider's redirect brought: a code, or a reason why there is none. Pure: nothing is asked or stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct, field

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


class SessionPage(Struct, frozen=True):
    """The consent page that a session's browser is sent to, and who may send it back."""

    page: ConsentPage
    #: What `iss` has to be; None: it is not known.
    issuer: str | None
    #: Hosts of the provider, one of which `iss` has to name where the issuer is not known.
    hosts: tuple[str, ...]
    #: The server promises `iss` in each redirect (RFC 9207 section 3).
    iss_required: bool = False
    #: What the page is asked with is pushed first, by a worker (RFC 9126).
    pushes: bool = False
    #: What the account gets beside its client, of a session by `resource` or `issuer`.
    knobs: Mapping[str, Any] = field(default_factory=dict)
    #: Whose page it is, where the provider's name says nothing: the host of the resource or the issuer.
    title: str | None = None

    @classmethod
    def of(
        cls,
        page: ConsentPage,
        provider: Provider,
        *urls: str | None,
        knobs: Mapping[str, Any] = MappingProxyType({}),
    ) -> SessionPage:
        """Return the page of a provider that has these URLs beside it.

        Args:
            page: the consent page.
            provider: whose.
            urls: others of its URLs, where the account has its own.
            knobs: what the account gets beside its client.
        """
        hosts = [urlsplit(url).hostname for url in (page.url, *urls) if url]
        named = knobs.get("resource") or knobs.get("issuer")
        return cls(
            page,
            provider.issuer,
            tuple(dict.fromkeys(host for host in hosts if host)),
            iss_required=provider.iss_required,
            pushes=provider.par_url is not None,
            knobs=dict(knobs),
            title=urlsplit(named).hostname if named else None,
        )

    def to_text(self) -> str:
        return json.dumps(
            {
                "url": self.page.url,
                "names": dict(self.page.names),
                "issuer": self.issuer,
                "hosts": self.hosts,
                "iss_required": self.iss_required,
                "pushes": self.pushes,
                "knobs": dict(self.knobs),
                "title": self.title,
            }
        )

    @classmethod
    def of_text(cls, text: str) -> SessionPage:
        """Read what `to_text` wrote, in this release or the one before."""
        read = json.loads(text)
        return cls(
            ConsentPage(read["url"], read["names"]),
            read["issuer"],
            tuple(read["hosts"]),
            iss_required=read.get("iss_required", False),
            pushes=read.get("pushes", False),
            knobs=read.get("knobs", {}),
            title=read.get("title"),
        )

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


class CodeReturned(Struct, frozen=True):
    """A code, and what else the redirect says of the account."""

    code: Secret
    parameters: Mapping[str, str]


class NoCode(Struct, frozen=True):
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
    if iss is None and page.iss_required:
        return NoCode(reasons.WRONG_ISSUER, "the redirect brings no `iss`, which the server promises")
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
