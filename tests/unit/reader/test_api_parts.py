"""The client of the API without a wire: its errors, rows, events and pauses; and both halves alike."""

from __future__ import annotations

import inspect
import json

import httpx
import pytest

from refreshd_reader import api, api_errors
from refreshd_reader.api import Accounts, ApiProblem, ApiUnreachable, AsyncAccounts, Event
from refreshd_reader.api_errors import problem_of
from refreshd_reader.api_wire import PAUSE_MAX_S, ROWS, EventLines, account_path, in_requests, pause_s
from tests.unit.reader.test_surface import _methods
from worker.api.problems import FieldError, Kind, Problem

HEADERS = {"content-type": "application/problem+json", "retry-after": "3", "x-request-id": "r-1"}


def test_both_halves_have_the_same_methods() -> None:
    assert _methods(Accounts) == _methods(AsyncAccounts)


def test_every_error_is_public_and_drawn_on_top_of_its_file() -> None:
    drawn = {
        line.split("── ")[1].split()[0] for line in (api_errors.__doc__ or "").splitlines() if "── " in line
    }
    defined = {
        name
        for name, value in vars(api_errors).items()
        if inspect.isclass(value) and issubclass(value, api_errors.ApiError)
    }
    assert drawn | {"ApiError"} == defined
    assert defined <= set(api.__all__)
    assert api.__all__ == sorted(api.__all__, key=str.casefold) or set(api.__all__) <= set(vars(api))


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_every_problem_of_the_api_is_an_error_that_carries_it(kind: Kind) -> None:
    sent = Problem(kind, "what is wrong", errors=[FieldError("scope", "no")], more={"verdict": "v"}).to_json()
    error = problem_of(kind.status, HEADERS, json.dumps(sent).encode())
    assert (error.status, error.title, error.detail) == (kind.status, kind.title, "what is wrong")
    assert (error.type, error.retry_after_s, error.request_id) == (kind.type, 3.0, "r-1")
    assert [(one.field, one.reason) for one in error.errors] == [("scope", "no")]
    assert (type(error) is api.NoToken) == (kind is Kind.NO_TOKEN)
    assert (type(error) is api.GrantRefused) == (kind is Kind.REFUSED_BY_PROVIDER)
    assert "what is wrong" in str(error)


@pytest.mark.parametrize("body", [b"<html>token", b"{", b"[]", b"\xff"])
def test_an_answer_that_is_no_problem_is_an_error_that_quotes_nothing(body: bytes) -> None:
    for content_type in ("text/html", "application/problem+json"):
        error = problem_of(502, {"content-type": content_type}, body)
        assert str(error) == "502 HTTP 502"


def test_an_id_is_quoted_in_a_path() -> None:
    assert account_path("a/../b?c", "/grant") == "/v1/accounts/a%2F..%2Fb%3Fc/grant"


def test_rows_go_out_some_thousands_at_a_time_and_keep_their_numbers() -> None:
    first, second = in_requests({"id": f"acct-{number}"} for number in range(ROWS + 2))
    assert (first.before, first.count, second.before, second.count) == (0, ROWS, ROWS, 2)
    assert second.body == b'{"id":"acct-%d"}\n{"id":"acct-%d"}\n' % (ROWS, ROWS + 1)
    (result,) = second.results(['{"line": 2, "account": "a", "outcome": "added"}'])
    assert result["line"] == ROWS + 2
    assert list(in_requests([])) == []
    with pytest.raises(ApiUnreachable, match="away"):
        list(second.results(['{"line": 0, "errors": [{"field": "body", "reason": "away"}]}']))


def test_events_are_read_and_a_place_without_data_is_none() -> None:
    reading = EventLines(None)
    text = ': connected\nid: 4-0\n\nid: 5-0\nevent: reauthorize\ndata: {"account":\ndata: "a"}\n\nid: 6-0\nevent: x\n'
    found = [event for line in text.splitlines() if (event := reading.take(line))]
    assert found == [Event("5-0", "reauthorize", {"account": "a"})]
    assert reading.last_id == "5-0"  # 6-0 is not whole


def test_a_pause_is_what_the_api_says_within_bounds() -> None:
    def problem(after: str) -> ApiProblem:
        return problem_of(503, {"retry-after": after}, b"")

    assert pause_s(1, problem("2")) == 2.0
    assert pause_s(1, problem("3600")) == PAUSE_MAX_S
    assert pause_s(3, ApiUnreachable("x")) == 1.0


def _answering(*statuses: int) -> tuple[Accounts, list[httpx.Request]]:
    asked: list[httpx.Request] = []
    left = list(statuses)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        status = left.pop(0)
        if not status:
            raise httpx.ReadTimeout("slow", request=request)
        return httpx.Response(status, json={"account": "a"}, headers={"retry-after": "0"})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return Accounts("http://api/", "rk_1_s", client=client), asked


@pytest.mark.parametrize("statuses", [(503, 200), (429, 504, 200), (0, 0, 200)])
def test_a_request_that_harms_nothing_is_made_again(statuses: tuple[int, ...]) -> None:
    accounts, asked = _answering(*statuses)
    accounts.put_grant("a", access_token="t")
    accounts_of_posts, posted = _answering(*statuses)
    accounts_of_posts.refresh("a")
    assert (len(asked), len(posted)) == (len(statuses), len(statuses))
    assert len({one.headers["idempotency-key"] for one in posted}) == 1
    assert str(asked[0].url) == "http://api/v1/accounts/a/grant"


@pytest.mark.parametrize("status", [0, 503, 504])
def test_a_grant_that_is_verified_is_not_sent_again_where_it_may_have_been_spent(status: int) -> None:
    accounts, asked = _answering(status, 200)
    with pytest.raises(api.ApiError):
        accounts.put_grant("a", {"refresh_token": "r"}, verify=True)
    assert len(asked) == 1


def test_after_some_tries_the_problem_is_raised() -> None:
    accounts, asked = _answering(503, 503, 503, 200)
    with pytest.raises(api.Unavailable):
        accounts.get("a")
    assert len(asked) == 3


def test_an_answer_that_is_not_the_apis_is_an_error() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>Log in</html>"))
    accounts = Accounts("http://api", "rk_1_s", client=httpx.Client(transport=transport))
    with pytest.raises(ApiUnreachable, match="not JSON"):
        accounts.get("a")


def test_no_key_is_shown() -> None:
    assert "rk_1_s" not in repr(vars(Accounts("http://api", "rk_1_s", client=httpx.Client())))
