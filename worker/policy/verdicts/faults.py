"""Rows of the verdict table for calls without an answer."""

from __future__ import annotations

from typing import Final

from models.answer import Fault, Verdict
from worker.policy.reasons.correction import (
    CALLBACK_UNKNOWN,
    CLIENT_CERTIFICATE_REFUSED,
    DPOP_KEY_MISMATCH,
    DPOP_KEY_UNFIT,
    PRIVATE_ADDRESS,
    REQUEST_IMPOSSIBLE,
    TOKEN_URL_HOST_NOT_ALLOWED,
)
from worker.policy.reasons.discovery import ENDPOINT_MOVED, ISSUER_UNREACHABLE, NO_METADATA, WRONG_ISSUER
from worker.policy.reasons.passing import (
    ANSWER_BROKE_HTTP,
    ANSWER_TOO_LARGE,
    CALLBACK_FAILED,
    CONNECTION_BROKEN,
    CONNECTION_FAILED,
    DNS_FAILED,
    INTERNAL_ERROR,
    NOT_SENT,
    TIMED_OUT,
    TLS_FAILED,
)
from worker.policy.verdicts.row import Row

_MISCONFIGURED: Final = Verdict.MISCONFIGURED
_RETRY: Final = Verdict.RETRY

FAULTS: Final = (
    Row(
        verdict=_RETRY,
        reason=CONNECTION_FAILED,
        fault=Fault.CONNECT,
    ),
    Row(
        verdict=_RETRY,
        reason=DNS_FAILED,
        fault=Fault.DNS,
    ),
    Row(
        verdict=_RETRY,
        reason=TLS_FAILED,
        fault=Fault.TLS,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=CLIENT_CERTIFICATE_REFUSED,
        fault=Fault.CLIENT_CERTIFICATE,
    ),
    Row(
        verdict=_RETRY,
        reason=TIMED_OUT,
        fault=Fault.TIMEOUT,
    ),
    Row(
        verdict=_RETRY,
        reason=CONNECTION_BROKEN,
        fault=Fault.BROKEN,
    ),
    Row(
        verdict=_RETRY,
        reason=ANSWER_BROKE_HTTP,
        fault=Fault.BROKE_HTTP,
    ),
    Row(
        verdict=_RETRY,
        reason=ANSWER_TOO_LARGE,
        fault=Fault.TOO_LARGE,
    ),
    Row(
        verdict=_RETRY,
        reason=NOT_SENT,
        fault=Fault.NOT_SENT,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=REQUEST_IMPOSSIBLE,
        fault=Fault.UNBUILDABLE,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=DPOP_KEY_UNFIT,
        fault=Fault.NO_PROOF,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=DPOP_KEY_MISMATCH,
        fault=Fault.WRONG_KEY,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=TOKEN_URL_HOST_NOT_ALLOWED,
        fault=Fault.HOST_NOT_ALLOWED,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=PRIVATE_ADDRESS,
        fault=Fault.ADDRESS_REFUSED,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=NO_METADATA,
        fault=Fault.NO_METADATA,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=WRONG_ISSUER,
        fault=Fault.WRONG_ISSUER,
    ),
    Row(
        verdict=_RETRY,
        reason=ISSUER_UNREACHABLE,
        fault=Fault.ISSUER_AWAY,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=ENDPOINT_MOVED,
        fault=Fault.ENDPOINT_MOVED,
    ),
    Row(
        verdict=_RETRY,
        reason=CALLBACK_FAILED,
        fault=Fault.CALLBACK,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=CALLBACK_UNKNOWN,
        fault=Fault.NO_CALLBACK,
    ),
    Row(
        verdict=_RETRY,
        reason=INTERNAL_ERROR,
        fault=Fault.INTERNAL,
    ),
)
