"""Failures that pass: the account is tried again by itself."""

from __future__ import annotations

from typing import Final

from models.outcome import INTERRUPTED as INTERRUPTED_CODE
from worker.policy.reasons.reason import Reason

_IF_IT_LASTS: Final = "no token if it lasts"
_USUALLY_NOTHING: Final = "usually nothing"
_STATUS_PAGE: Final = "the provider's status page"
_WHO_ELSE: Final = "often: who else uses this grant?"

CONNECTION_FAILED: Final = Reason(
    "connection_failed",
    "No connection to the provider.",
    _IF_IT_LASTS,
    "from the worker: `curl -sv TOKEN_URL`; firewall, proxy",
)
CONNECTION_BROKEN: Final = Reason(
    "connection_broken",
    "The connection broke after the request was sent. The refresh token may be spent.",
    _USUALLY_NOTHING,
    "`refreshd history ACCOUNT`; often: network or proxy",
)
ANSWER_BROKE_HTTP: Final = Reason(
    "answer_broke_http",
    "An answer came that nothing can read as HTTP; the history has how it began. The refresh token may be spent.",
    f"{_IF_IT_LASTS}; other accounts of the host are asked as before",
    "`refreshd history ACCOUNT`: `output` has how it began; often: another protocol on this port, or a proxy",
)
DNS_FAILED: Final = Reason(
    "dns_failed",
    "The provider's name was not resolved.",
    _IF_IT_LASTS,
    "`getent hosts HOST` where the worker runs",
)
TLS_FAILED: Final = Reason(
    "tls_failed",
    "The provider's certificate is expired, unknown or for another name, or TLS failed otherwise.",
    _IF_IT_LASTS,
    "`openssl s_client -connect HOST:443`; an authority of your own into `REFRESHD_CA_FILE`",
)
TIMED_OUT: Final = Reason(
    "timed_out",
    "The call did not end in time. The refresh token may be spent.",
    _USUALLY_NOTHING,
    "latency on the dashboard; a longer `REFRESHD_CALL_TIMEOUT_S`",
)
NOT_SENT: Final = Reason(
    "not_sent",
    "The time for the call was over before it began, at a slow worker or database; nothing was sent.",
    action="`refreshd doctor`; more workers",
)
ANSWER_TOO_LARGE: Final = Reason(
    "answer_too_large",
    "The answer is larger than 1 MiB and was not read to its end; no token endpoint answers so.",
    _IF_IT_LASTS,
    "`refreshd accounts show ACCOUNT`: is it the right `token_url`?",
)
INTERNAL_ERROR: Final = Reason(
    "internal_error",
    "refreshd itself failed, or the database refused the row, which is a bug: the worker's log has it. "
    "The refresh token may be spent.",
    _IF_IT_LASTS,
    "the worker's log: `call_raised`, `refresh_aborted` or `commit_refused`; report it. "
    "An answer that had arrived waits, sealed, in Redis",
)
SERVER_ERROR: Final = Reason(
    "server_error", "The provider, or a gateway before it, failed.", _IF_IT_LASTS, _STATUS_PAGE
)
PAGE_INSTEAD_OF_ANSWER: Final = Reason(
    "page_instead_of_answer",
    "A page, a redirect or a text came instead of an answer, where the same configuration had brought tokens: "
    "a challenge, maintenance, a firewall.",
    _IF_IT_LASTS,
    "from a worker: `curl -i -X POST TOKEN_URL`; where it is a challenge, have the provider or your proxy let the "
    "worker's address through",
)
RETRY_ASKED: Final = Reason("retry_asked", "The provider asks for another try.", _IF_IT_LASTS)
REFUSED_BEHIND_A_FAILURE: Final = Reason(
    "refused_behind_a_failure",
    "A 5xx whose words say that a server behind it refused the grant. Where it lasts, the grant is probably dead.",
    _IF_IT_LASTS,
    "as `grant_probably_dead`, where it lasts",
)
TEMPORARILY_UNAVAILABLE: Final = Reason(
    "temporarily_unavailable",
    "The provider is overloaded or under maintenance.",
    _IF_IT_LASTS,
    _STATUS_PAGE,
)
RATE_LIMITED: Final = Reason(
    "rate_limited",
    "The provider says that it is asked too often.",
    "nothing, unless for long",
    "nothing: no request goes out until the pause is over; a lower `requests_per_s` in your providers file",
)
TOO_EARLY: Final = Reason(
    "too_early",
    "The provider takes a refresh only near the token's end.",
    action="a preset or `refresh_window_s` that says so",
)
ALREADY_BEING_PROCESSED: Final = Reason(
    "already_being_processed", "The provider is at another refresh with this token.", action=_WHO_ELSE
)
CONFLICT: Final = Reason(
    "conflict",
    "The provider is at another refresh of this account (409 Conflict, 423 Locked).",
    action=_WHO_ELSE,
)
DPOP_NONCE_REQUIRED: Final = Reason(
    "dpop_nonce_required",
    "The provider asked for its nonce (RFC 9449 section 8), and then did not take the one it gave, or gave none.",
    _IF_IT_LASTS,
    "`refreshd explain ACCOUNT`; a proxy that takes `DPoP-Nonce` away, servers behind one address that do not share "
    "nonces, or `dpop` is off",
)
NO_TOKEN: Final = Reason(
    "no_token",
    "An answer with neither a token nor an error. The refresh token may be spent.",
    _IF_IT_LASTS,
    "`refreshd history ACCOUNT`; its answer's shape is described in the providers file",
)
CALLBACK_FAILED: Final = Reason(
    "callback_failed",
    "The callback raised an error, ended its process, ran out of time, or returned something that is no output.",
    _IF_IT_LASTS,
    "`refreshd callbacks test NAME --account ACCOUNT`, `refreshd history ACCOUNT`",
)
INTERRUPTED: Final = Reason(
    INTERRUPTED_CODE,
    "A worker was interrupted after it had opened the attempt; whether the provider saw it is unknown.",
    _USUALLY_NOTHING,
    "[RefreshdInterruptedAttempts](#refreshdinterruptedattempts)",
)
