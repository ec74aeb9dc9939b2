"""How a provider's budget is dealt out."""

from __future__ import annotations

import pytest

from models.account import Account, RefreshMethod
from models.answer import Answer, Fault, Judgement, Verdict
from models.budget import Limits, provider_of
from models.provider import Provider
from models.refresh_request import RefreshRequest
from models.token import Secret
from worker.policy.budget import ahead, budget_of, is_down, limits, pauses_provider, slots, within


@pytest.mark.parametrize(
    ("answer", "down"),
    [
        (Answer(fault=Fault.CONNECT), True),
        (Answer(fault=Fault.TIMEOUT), True),
        (Answer(status=503), True),
        (Answer(status=500), True),
        (Answer(status=429), False),
        (Answer(status=400), False),
        (Answer(status=200), False),
        (Answer(fault=Fault.NOT_SENT), False),
        (Answer(fault=Fault.UNBUILDABLE), False),
    ],
)
def test_what_says_that_a_provider_is_down(answer: Answer, down: bool) -> None:
    assert is_down(answer) is down


@pytest.mark.parametrize(
    ("answer", "verdict", "pauses"),
    [
        (Answer(status=429), Verdict.RATE_LIMITED, True),
        (Answer(status=503, retry_after_s=5), Verdict.RATE_LIMITED, True),
        (Answer(status=400), Verdict.RATE_LIMITED, False),  # Exact Online: this token is not old enough
        (Answer(status=200), Verdict.RATE_LIMITED, False),  # Zoho: too many for this refresh token
        (Answer(status=503), Verdict.RETRY, False),
        (Answer(status=503), Verdict.RATE_LIMITED, False),  # nobody said for how long
        (Answer(status=400, retry_after_s=5), Verdict.RATE_LIMITED, False),
        (Answer(status=429), Verdict.RETRY, False),  # a rule of the provider's own says what it means
    ],
)
def test_what_pauses_a_provider_for_everybody(answer: Answer, verdict: Verdict, pauses: bool) -> None:
    assert pauses_provider(answer, Judgement(verdict=verdict, reason="r")) is pauses


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, Limits(50, 9)),
        ({"requests_per_s": 3}, Limits(3, 9)),
        ({"max_in_flight": 2}, Limits(50, 2)),
        ({"refresh_window_s": 30}, Limits(50, 9, takes_early=False)),
    ],
)
def test_a_provider_s_own_limits_come_before_the_settings(own: dict[str, float], wanted: Limits) -> None:
    named = Provider.model_validate({"name": "acme", **own})
    assert limits(named, requests_per_s=50, max_in_flight=9) == wanted


def test_who_has_to_wait_comes_back_at_the_providers_rate() -> None:
    assert slots(3, start=100.0, requests_per_s=10, jitter=0.0) == pytest.approx([100.0, 100.1, 100.2])
    assert slots(2, start=100.0, requests_per_s=10, jitter=0.5) == pytest.approx([100.05, 100.15])


def test_without_a_known_rate_nobody_stampedes_either() -> None:
    times = slots(100, start=0.0, requests_per_s=None, jitter=0.5)
    assert times[-1] - times[0] == pytest.approx(99 / 50)


@pytest.mark.parametrize(
    ("rate", "interval_s", "taken"),
    [(None, 1.0, 10), (4.0, 1.0, 4), (0.1, 1.0, 1), (100.0, 1.0, 10), (4.0, 2.0, 8)],
)
def test_one_plan_takes_what_the_provider_takes_until_the_next(
    rate: float | None, interval_s: float, taken: int
) -> None:
    now, later = within(list(range(10)), rate, interval_s)
    assert (now, later) == (list(range(taken)), list(range(taken, 10)))


@pytest.mark.parametrize(
    ("crowd", "limits", "taken", "wanted"),
    [  # of a plan each two seconds
        ({60.0: 10_000}, Limits(50.0, 10), 0, 100),  # a cliff
        ({60.0: 10_000}, Limits(0.7, 10), 0, 1),
        ({60.0: 10_000}, Limits(50.0, 10), 70, 30),  # what is due anyway comes first
        ({60.0: 10_000}, Limits(50.0, 10), 180, 0),
        ({60.0: 100, 600.0: 1_000}, Limits(50.0, 10), 0, 0),  # it can take them as they come
        ({60.0: 100, 600.0: 29_000}, Limits(50.0, 10), 0, 100),  # far away, but too many
        ({60.0: 10_000}, Limits(None, 10), 0, 0),
        ({60.0: 10_000}, Limits(50.0, 10, takes_early=False), 0, 0),
    ],
)
def test_a_crowd_is_begun_early(crowd: dict[float, int], limits: Limits, taken: int, wanted: int) -> None:
    assert ahead(crowd, limits, interval_s=2.0, taken=taken) == wanted


FIXED = Provider.model_validate({"name": "acme", "token_url": "https://login.acme.example/token"})
PATHS = Provider.model_validate(
    {"name": "acme", "token_url": "https://login.acme.example/${custom.tenant}/token"}
)
TENANTS = Provider.model_validate(
    {"name": "acme", "token_url": "https://${custom.tenant}.acme.example/token"}
)
NOWHERE = Provider(name="generic")


@pytest.mark.parametrize(
    ("provider", "knobs", "token_url", "budget"),
    [
        (FIXED, {}, None, "acme"),
        (PATHS, {}, None, "acme"),
        (FIXED, {}, "https://LOGIN.acme.example:443/other", "acme"),  # the same server
        (FIXED, {"margin_s": 30}, None, "acme"),
        (FIXED, {}, "https://eu.acme.example/token", "acme@eu.acme.example"),
        (TENANTS, {}, None, "acme@t1.acme.example"),
        (TENANTS, {"margin_s": 30}, None, "acme@t1.acme.example"),
        (NOWHERE, {}, "https://t1.example/token", "acme@t1.example"),
        (NOWHERE, {"refresh_url": "https://t2.example/token"}, None, "acme@t2.example"),
        (NOWHERE, {}, "https://${custom.tenant}.example/token", "acme@t1.example"),
        (NOWHERE, {}, "https://${custom.missing}.example/token", "acme"),  # nothing can be sent
        (NOWHERE, {}, "https://a}b{.example/token", "acme"),
        (NOWHERE, {}, "no url", "acme"),
        (NOWHERE, {}, None, "acme"),
    ],
)
def test_what_one_server_does_says_nothing_of_another(
    provider: Provider, knobs: dict[str, object], token_url: str | None, budget: str
) -> None:
    account = Account(id="a", provider="acme", token_url=token_url, callback="mine")
    request = RefreshRequest(
        account_id="a",
        provider=provider.for_account(knobs),
        token_url=token_url,
        custom_fields={"tenant": Secret("t1")},
    )
    assert budget_of(account, RefreshMethod.BODY, request) == budget
    assert provider_of(budget) == "acme"
    assert budget_of(account, RefreshMethod.BODY, None) == "acme"
    assert budget_of(account, RefreshMethod.CALLBACK, request) == "callback:mine"
    assert provider_of("callback:mine@home") == "callback:mine@home"
