"""A refresh in Flower is told in words, however much of it Celery sent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery.utils.saferepr import saferepr

from worker.monitoring.flower_format import in_words, is_idle

ONE = {"outcome": "misconfigured", "reason": "invalid_client", "generation": 3}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"refreshed": 2, "accounts": {}}, "2 refreshed"),
        ({"not_sent": 1, "accounts": {"a": {"outcome": "not_sent", "reason": "x"}}}, "1 not sent (a: x)"),
        ({"refreshed": 49, "misconfigured": 1, "accounts": {"a": ONE}},
         "1 misconfigured (a: invalid_client); 49 refreshed"),
        ({"refreshed": 8, "retry": 1, "busy": 2, "misconfigured": 1, "accounts": {"a": ONE}},
         "1 misconfigured (a: invalid_client); 1 retry; 2 busy; 8 refreshed"),
    ],
)  # fmt: skip
def test_a_result_says_what_came_of_it(result: object, words: str) -> None:
    task = SimpleNamespace(name="refreshd.refresh", kwargs="{}", result=repr(result))
    assert in_words(task).result == words


def test_a_large_group_is_told_as_far_as_it_goes() -> None:
    accounts = [[f"account-{number}", number] for number in range(500)]
    sent = saferepr({"reason": "planned", "accounts": accounts}, 1024)
    task = SimpleNamespace(name="refreshd.refresh", kwargs=sent, result=None)
    assert in_words(task).kwargs.startswith("planned: account-0, account-1, ")


@pytest.mark.parametrize(
    "text", [None, "", "{'accounts': [['a', 1...", "1", "{'accounts': {'a': 1}}", "[[" * 5000]
)
def test_what_is_none_of_ours_stays_as_it_is(text: str | None) -> None:
    task = SimpleNamespace(name="refreshd.refresh", kwargs=text, result=text)
    shown = in_words(task)
    assert (shown.kwargs, shown.result) == (text, text)


def test_a_periodic_task_says_what_it_counted() -> None:
    result = "{'planned': 3, 'messages': 1, 'ended': 0, 'held_back': None}"
    shown = in_words(SimpleNamespace(name="refreshd.plan", kwargs="{}", result=result))
    assert (shown.kwargs, shown.result) == ("", "planned 3, messages 1")


def test_tasks_of_others_stay_as_they_are() -> None:
    task = SimpleNamespace(name="acme.plan", kwargs="{'accounts': [['a', 1]]}", result="{'planned': 1}")
    assert in_words(task).kwargs == "{'accounts': [['a', 1]]}"


@pytest.mark.parametrize(
    ("result", "idle"),
    [
        ("{'planned': 0, 'messages': 0}", True),
        ("{'planned': 0, 'messages': 0, 'held_back': 'another_plan_is_running'}", True),
        ("{}", True),
        ("{'planned': 2, 'messages': 1}", False),
        ("{'planned': 0, 'ended': 3}", False),
        ("{'planned': 0, 'cut sho...", False),
        ("None", False),
    ],
)
def test_a_result_that_counts_nothing_is_idle(result: str, *, idle: bool) -> None:
    assert is_idle(result) is idle
