"""Lines of the verdict table about calls that brought no answer."""

from __future__ import annotations

from typing import Final

from models.answer import Fault, Verdict
from worker.policy.verdicts.row import Row

_MISCONFIGURED: Final = Verdict.MISCONFIGURED
_RETRY: Final = Verdict.RETRY

FAULTS: Final = (
    Row(
        verdict=_RETRY,
        reason="connection_failed",
        fault=Fault.CONNECT,
        words="No connection to the provider.",
    ),
    Row(verdict=_RETRY, reason="dns_failed", fault=Fault.DNS, words="The provider's name was not resolved."),
    Row(
        verdict=_RETRY,
        reason="tls_failed",
        fault=Fault.TLS,
        words="The provider's certificate is expired, unknown or for another name, or TLS failed otherwise.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="client_certificate_refused",
        fault=Fault.CLIENT_CERTIFICATE,
        words="The provider's TLS refused the client certificate.",
    ),
    Row(
        verdict=_RETRY,
        reason="timed_out",
        fault=Fault.TIMEOUT,
        words="The call did not end in time. The refresh token may be spent.",
    ),
    Row(
        verdict=_RETRY,
        reason="connection_broken",
        fault=Fault.BROKEN,
        words="The connection broke after the request was sent. The refresh token may be spent.",
    ),
    Row(
        verdict=_RETRY,
        reason="answer_broke_http",
        fault=Fault.BROKE_HTTP,
        words="An answer came that nothing can read as HTTP; the history has how it began. The refresh token may be spent.",
    ),
    Row(
        verdict=_RETRY,
        reason="answer_too_large",
        fault=Fault.TOO_LARGE,
        words="The answer is larger than 1 MiB and was not read to its end.",
    ),
    Row(
        verdict=_RETRY,
        reason="not_sent",
        fault=Fault.NOT_SENT,
        words="The time for the call was over before it began; nothing was sent.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="request_impossible",
        fault=Fault.UNBUILDABLE,
        words="No request can be made: a field that the provider needs is missing or unfit, or http:// is not allowed.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="dpop_key_unfit",
        fault=Fault.NO_PROOF,
        words="The account's `dpop_key` is missing, can't be read, or is no key for the provider's `dpop`; nothing was sent.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="dpop_key_mismatch",
        fault=Fault.WRONG_KEY,
        words="The account's `dpop_key` is not the key that its access token is bound to (`cnf.jkt`); nothing was sent.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="token_url_host_not_allowed",
        fault=Fault.HOST_NOT_ALLOWED,
        words="The provider's data does not name this host among its `hosts`; nothing was sent.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="private_address",
        fault=Fault.ADDRESS_REFUSED,
        words="The URL leads to a private address, which REFRESHD_BLOCK_PRIVATE_NETWORKS forbids; nothing was sent.",
    ),
    Row(
        verdict=_RETRY,
        reason="callback_failed",
        fault=Fault.CALLBACK,
        words="The callback raised an error, ended its process, or returned something that is no output.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="callback_unknown",
        fault=Fault.NO_CALLBACK,
        words="There is no callback of this name.",
    ),
    Row(
        verdict=_RETRY,
        reason="internal_error",
        fault=Fault.INTERNAL,
        words="refreshd itself failed, which is a bug: the worker's log has it. The refresh token may be spent.",
    ),
)
