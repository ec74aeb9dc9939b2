"""A provider's budget: how many calls it takes, how long it is left alone, when it counts as down. Pure.

What all workers share lives in Redis (`worker/io/budget.py`); how it is dealt out is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from models.account import Account, RefreshMethod
from models.answer import Answer, Fault, Judgement, Verdict
from models.budget import Limits
from models.provider import Provider
from models.refresh_request import RefreshRequest
from models.template import TemplateError, host_of, parse

T = TypeVar("T")

#: Nobody knows a provider's rate: accounts of unknown age are spread as if it took this many a second.
ASSUMED_REQUESTS_PER_S: Final = 50.0

#: Reasons that are the client's and not the account's: every account of the client would hear the same.
CLIENT_REASONS: Final = frozenset({"invalid_client", "client_refused"})
#: A refused client is tried again by one account after this long, and then less and less often.
CLIENT_PAUSE_S: Final = 300.0

#: A provider whose accounts come due faster than this share of its rate is begun early: some of it is needed
#: for retries and for what is forced or reported.
CROWDED_SHARE: Final = 0.8
#: How far a plan looks ahead, seconds: the longest margin and twice as far.
HORIZONS_S: Final = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)

_DOWN_FAULTS: Final = frozenset({Fault.CONNECT, Fault.DNS, Fault.TLS, Fault.TIMEOUT, Fault.BROKEN})
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


def limits(provider: Provider, *, requests_per_s: float | None, max_in_flight: int) -> Limits:
    """Give a provider's limits: its data's, else the settings'."""
    return Limits(
        provider.requests_per_s if provider.requests_per_s is not None else requests_per_s,
        provider.max_in_flight if provider.max_in_flight is not None else max_in_flight,
        takes_early=provider.refresh_window_s is None,
    )


def budget_of(account: Account, method: str, request: RefreshRequest | None) -> str:
    """Name the budget that an account's refreshes count against: its provider's, its host's, or its callback's own.

    A callback that hangs is no outage of the provider, and none of another callback. Where a token URL is the
    account's own, or its tenant's, what one host does says nothing of the others: `PROVIDER@HOST` (`models/budget.py`).
    """
    if method == RefreshMethod.CALLBACK:
        return f"callback:{account.callback}"
    host = None if request is None else _own_host(request)
    return account.provider if host is None else f"{account.provider}@{host}"


def _own_host(request: RefreshRequest) -> str | None:
    try:
        template = parse(request.token_url) if request.token_url else request.provider.endpoint
        if template is None:
            return None
        constant = template.constant
        host = host_of(template.url(request.variable) if constant is None else constant)
    except TemplateError:  # nothing can be sent
        return None
    return None if host == request.provider.host else host


def is_down(answer: Answer) -> bool:
    """Tell whether an answer says that the provider is down, whoever asked."""
    return answer.fault in _DOWN_FAULTS or (answer.status is not None and answer.status >= _SERVER_ERROR)


def pauses_provider(answer: Answer, judgement: Judgement) -> bool:
    """Tell whether an answer asks every worker to leave the provider alone, and not just for this account."""
    too_many = answer.status == _TOO_MANY or (answer.retry_after_s is not None and is_down(answer))
    return judgement.verdict is Verdict.RATE_LIMITED and too_many


def slots(count: int, *, start: float, requests_per_s: float | None, jitter: float) -> list[float]:
    """Spread accounts that had to wait: times from `start` on at the provider's rate, epoch seconds.

    Without a known rate they come back as if it took `ASSUMED_REQUESTS_PER_S`, so that no pause ends in a
    stampede.
    """
    gap_s = 1 / (requests_per_s or ASSUMED_REQUESTS_PER_S)
    return [start + (nth + jitter) * gap_s for nth in range(count)]


def within(items: list[T], requests_per_s: float | None, interval_s: float) -> tuple[list[T], list[T]]:
    """Split what one plan found of a provider into what it takes until the next plan, and what has to wait."""
    most = len(items) if requests_per_s is None else max(1, round(requests_per_s * interval_s))
    return items[:most], items[most:]


def ahead(crowd: Mapping[float, int], limits: Limits, *, interval_s: float, taken: int) -> int:
    """Say how many accounts to begin before they are due, because more come due than the provider can take.

    Args:
        crowd: seconds from now -> accounts that come due until then.
        limits: what the provider takes.
        interval_s: seconds until the next plan.
        taken: accounts that this plan takes of it anyway.
    """
    rate = limits.requests_per_s
    if rate is None or not limits.takes_early:
        return 0
    crowded = any(count > rate * within_s * CROWDED_SHARE for within_s, count in crowd.items())
    return max(round(rate * interval_s) - taken, 0) if crowded else 0
