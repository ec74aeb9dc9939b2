"""An address leads to no authorization server, or to none that a client can be registered with."""

from __future__ import annotations

from typing import Final

from worker.policy.reasons.reason import Reason

_THEIRS_ENDS: Final = "no token once theirs ends"
_NOTHING_YET: Final = "nothing; there is no grant yet"
_DISCOVER: Final = "`refreshd providers discover URL` shows what was asked, and what came of it"

NO_METADATA: Final = Reason(
    "no_metadata",
    "The issuer publishes no metadata of an authorization server that can be used (RFC 8414, OpenID Connect discovery).",
    _THEIRS_ENDS,
    f"{_DISCOVER}; correct `issuer`, or give `token_url` with another provider",
)
WRONG_ISSUER: Final = Reason(
    "wrong_issuer",
    "The metadata at the issuer's address are another issuer's (RFC 8414 section 3.3); nothing was sent.",
    _THEIRS_ENDS,
    f"{_DISCOVER}; correct `issuer`: it has to be written as the document writes it",
)
ISSUER_UNREACHABLE: Final = Reason(
    "issuer_unreachable",
    "The issuer's metadata were never read, and its server does not answer now; nothing was sent.",
    _THEIRS_ENDS,
    f"nothing: it is tried again, later each time; {_DISCOVER}",
)
ENDPOINT_MOVED: Final = Reason(
    "endpoint_moved",
    "The issuer's metadata name endpoints on another host than before; no credentials go there.",
    _THEIRS_ENDS,
    "is the new host the issuer's? Then `refreshd providers discover ISSUER --keep`",
)
UNREACHABLE: Final = Reason(
    "unreachable",
    "The server does not answer, or never ends its redirects.",
    _NOTHING_YET,
    "check the address; is a proxy needed (`HTTPS_PROXY`)?",
)
NOT_JSON: Final = Reason(
    "not_json", "The document is no JSON object, or the answer is too large.", _NOTHING_YET, _DISCOVER
)
RESOURCE_MISMATCH: Final = Reason(
    "resource_mismatch",
    "The resource's metadata are another resource's (RFC 9728 section 3.3): a token for it could be taken elsewhere.",
    _NOTHING_YET,
    "use the address that the server's documentation names; tell the resource's operator",
)
NO_AUTHORIZATION_SERVER: Final = Reason(
    "no_authorization_server",
    "The resource names no authorization server (RFC 9728 section 2).",
    _NOTHING_YET,
    "tell the resource's operator; `provider=issuer issuer=URL` where the server is known",
)
UNSAFE_URL: Final = Reason(
    "unsafe_url",
    "A URL of the metadata may not be given credentials: no https, a private address, another host, or a variable in it.",
    _NOTHING_YET,
    "give the whole address, https://HOST/...; name the host of a server of your own in `REFRESHD_ALLOW_HTTP_HOSTS`; what a server "
    "publishes, its operator corrects",
)
NO_REGISTRATION: Final = Reason(
    "no_registration",
    "The authorization server registers no clients by itself (RFC 7591).",
    _NOTHING_YET,
    "register a client there by hand, then `refreshd clients add NAME --provider issuer --issuer ISSUER --client-id ...` and "
    "`--client NAME`",
)
REGISTRATION_REFUSED: Final = Reason(
    "registration_refused",
    "The authorization server refused to register a client (RFC 7591 section 3.2.2).",
    _NOTHING_YET,
    "its words say why; register a client there by hand and name it with `--client NAME`",
)
PKCE_UNSUPPORTED: Final = Reason(
    "pkce_unsupported",
    "The authorization server does not say that it takes PKCE with S256, which the Model Context Protocol asks of it.",
    _NOTHING_YET,
    "tell the server's operator; `provider=issuer issuer=URL` without `--mcp` asks for no such promise",
)
REGISTRATION_EXPIRED: Final = Reason(
    "registration_expired",
    "The secret of a client that was registered with its server (RFC 7591) ends or has ended, and the server does not renew it "
    "(RFC 7592).",
    "no token once theirs ends, for all of the client",
    "have the owners consent again before it: `refreshd accounts authorize ACCOUNT --mcp URL`, or a Connect session; each gets a client "
    "that was registered then",
)
REGISTRATION_FORGOTTEN: Final = Reason(
    "registration_forgotten",
    "The server had forgotten the client that was registered with it, so it was registered again, with another id.",
    "no token, where the server gave the grant to the old id alone",
    "nothing for accounts that are `active`; those in `reauthorize` need consent again",
)
