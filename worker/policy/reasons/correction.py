"""Failures that need a correction: of the account, its client, or refreshd's settings."""

from __future__ import annotations

from typing import Final

from worker.policy.reasons.reason import Reason

_THEIRS_ENDS: Final = "no token once theirs ends"
_ALL_OF_THE_CLIENT: Final = "no token once theirs ends, for all of the client"
_NEW_SECRET: Final = "a new secret: `refreshd clients edit NAME client_secret=@FILE` for all accounts of a client; else `refreshd accounts import FILE` with the new `client_secret`, or `refreshd accounts edit`; `client_auth`"
_RIGHT_KEY: Final = (
    "`refreshd accounts edit ACCOUNT custom_fields.dpop_key=@FILE` with the key that the grant was made with"
)

INVALID_CLIENT: Final = Reason(
    "invalid_client",
    "The client's id, secret or way of authentication is wrong, or its secret has expired.",
    _ALL_OF_THE_CLIENT,
    _NEW_SECRET,
)
ACCESS_RESTRICTED: Final = Reason(
    "access_restricted",
    "The provider takes no login from this network, or at this hour; the grant may be alive.",
    _THEIRS_ENDS,
    "the worker's address into the org's trusted ranges (Salesforce), or longer login hours; then it is refreshed by itself",
)
CLIENT_REFUSED: Final = Reason(
    "client_refused",
    "The provider refused the client (401 or 403), without an error code.",
    _ALL_OF_THE_CLIENT,
    f"{_NEW_SECRET}; is the client locked there?",
)
CLIENT_CERTIFICATE_REFUSED: Final = Reason(
    "client_certificate_refused",
    "The provider's TLS refused the client certificate.",
    _ALL_OF_THE_CLIENT,
    "renew it; `refreshd providers show NAME`",
)
UNAUTHORIZED_CLIENT: Final = Reason(
    "unauthorized_client",
    "The client may not use this grant.",
    _ALL_OF_THE_CLIENT,
    "allow `refresh_token` for it at the provider",
)
UNSUPPORTED_GRANT_TYPE: Final = Reason(
    "unsupported_grant_type",
    "The provider does not know this grant.",
    _ALL_OF_THE_CLIENT,
    "`refreshd providers show NAME`; another `token_url` or `grant`",
)
INVALID_SCOPE: Final = Reason(
    "invalid_scope",
    "The scope is unknown or wider than what was granted.",
    _THEIRS_ENDS,
    "correct `scope`: `refreshd explain ACCOUNT`",
)
INVALID_TARGET: Final = Reason(
    "invalid_target",
    "The resource or audience is unknown (RFC 8707).",
    _THEIRS_ENDS,
    "correct the parameter in your providers file",
)
INVALID_REQUEST: Final = Reason(
    "invalid_request",
    "A parameter is missing, repeated or malformed.",
    _THEIRS_ENDS,
    "`refreshd history ACCOUNT` shows the request; `refreshd providers show NAME`",
)
DPOP_KEY_UNFIT: Final = Reason(
    "dpop_key_unfit",
    "The account's `dpop_key` is missing, can't be read, or is no key for the provider's `dpop`; nothing was sent.",
    _THEIRS_ENDS,
    f"`refreshd explain ACCOUNT` says which; {_RIGHT_KEY}",
)
DPOP_KEY_MISMATCH: Final = Reason(
    "dpop_key_mismatch",
    "The account's `dpop_key` is not the key that its access token is bound to (`cnf.jkt`); nothing was sent.",
    _THEIRS_ENDS,
    f"{_RIGHT_KEY} (a wrong key can end the grant); a client with a secret that changed its key: "
    "`dpop_key_may_change=true`",
)
INVALID_DPOP_PROOF: Final = Reason(
    "invalid_dpop_proof",
    "The provider refused the proof of possession: the key, its algorithm, the URL or the clock (RFC 9449).",
    _THEIRS_ENDS,
    "`refreshd explain ACCOUNT`; the algorithm (`dpop`), the `token_url` as the provider publishes it, and the database's clock",
)
REQUEST_IMPOSSIBLE: Final = Reason(
    "request_impossible",
    "No request can be made: a field that the provider needs is missing or unfit, or http:// is not allowed.",
    _THEIRS_ENDS,
    "`refreshd explain ACCOUNT` names the field; `refreshd accounts edit ACCOUNT FIELD=VALUE`",
)
TOKEN_URL_HOST_NOT_ALLOWED: Final = Reason(
    "token_url_host_not_allowed",
    "The provider's data does not name the host of the account's `token_url` among its `hosts`, nor does the client's "
    "`token_url`; nothing was sent.",
    _THEIRS_ENDS,
    "is the URL right? Then add its host to `hosts` in your providers file, or name it in the client's `token_url`",
)
PRIVATE_ADDRESS: Final = Reason(
    "private_address",
    "The URL leads to a private address, which REFRESHD_BLOCK_PRIVATE_NETWORKS forbids; nothing was sent.",
    _THEIRS_ENDS,
    "is the URL right? Then that setting has to go, or the provider needs a public address",
)
REDIRECTED: Final = Reason(
    "redirected",
    "The token URL redirects. Credentials do not follow: correct the URL.",
    _THEIRS_ENDS,
    "`curl -sI TOKEN_URL`; set the URL that it leads to",
)
NO_TOKEN_ENDPOINT: Final = Reason(
    "no_token_endpoint",
    "There is no token endpoint at this URL, or not for this method (404, 405 or 410).",
    _THEIRS_ENDS,
    "correct `token_url`, or `refresh_method`",
)
HTML_PAGE: Final = Reason(
    "html_page",
    "An HTML page instead of an answer: a login page, a proxy, a wrong URL.",
    _THEIRS_ENDS,
    "correct `token_url`; is a proxy in between?",
)
REFUSED: Final = Reason(
    "refused",
    "The provider refused the request (4xx), without an error code.",
    _THEIRS_ENDS,
    "`refreshd history ACCOUNT`; the provider's documentation",
)
UNKNOWN_ERROR: Final = Reason(
    "unknown_error",
    "The provider refused, in words that neither its rules nor the verdict table explain.",
    "no token if it lasts",
    "`refreshd history ACCOUNT` has its words; an `error_rules` entry gives it a meaning",
)
CALLBACK_UNKNOWN: Final = Reason(
    "callback_unknown",
    "There is no callback of this name.",
    _THEIRS_ENDS,
    "`refreshd callbacks list`; `REFRESHD_CALLBACK_MODULES` of the callback workers",
)
PROVIDER_KNOBS_UNFIT: Final = Reason(
    "provider_knobs_unfit",
    "What the account sets itself (`params`, `margin_s` ...) does not fit its provider as that is described now; "
    "nothing was sent.",
    _THEIRS_ENDS,
    "`refreshd explain ACCOUNT` names the setting; `refreshd accounts edit ACCOUNT OPTION=VALUE`, or mend the provider's "
    "entry in `REFRESHD_PROVIDERS_FILE`, which was changed or taken away since",
)
CLIENT_UNKNOWN: Final = Reason(
    "client_unknown",
    "The account names a client that is not stored any more; nothing was sent.",
    _THEIRS_ENDS,
    "`refreshd clients add NAME ...` under the name that it has, or `refreshd accounts edit ACCOUNT client=OTHER`",
)
PROVIDER_UNKNOWN: Final = Reason(
    "provider_unknown",
    "The provider is described nowhere, and the account gives no token URL.",
    _THEIRS_ENDS,
    "`refreshd accounts edit ACCOUNT token_url=URL`, or `REFRESHD_PROVIDERS_FILE`",
)
KEY_MISSING: Final = Reason(
    "key_missing",
    "A secret of the account is sealed with a key that the worker does not have.",
    _THEIRS_ENDS,
    "put the key into `REFRESHD_KEYS` of every worker and restart them: a worker that starts with it makes these accounts due. "
    "`refreshd doctor` names the worker, `refreshd keys check` the values. Where the key is lost: "
    "`refreshd accounts import FILE --replace-tokens` with all secrets in the file",
)
SEAL_BROKEN: Final = Reason(
    "seal_broken",
    "A secret of the account does not open: the row was changed, or moved from another account.",
    _THEIRS_ENDS,
    "`refreshd keys check`; `refreshd accounts import FILE --replace-tokens` with all secrets in the file",
)
STASH_UNREADABLE: Final = Reason(
    "stash_unreadable",
    "An answer that waits in Redis does not open, and whether the refresh token is spent is unknown: "
    "no call is made until it does.",
    _THEIRS_ENDS,
    "add the older key to `REFRESHD_KEYS`",
)
