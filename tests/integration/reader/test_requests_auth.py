"""The requests auth, against a real HTTP server on loopback: requests has no transport to put a script in."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from refreshd_reader import AccountState, Reader, Reauthorize
from refreshd_reader.requests import TokenAuth
from tests.integration.reader.api import Api, rotating
from tests.integration.reader.publisher import Publisher
from tests.support.services import RedisServer


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    yield server
    server.close()


@pytest.fixture
def reader(server: RedisServer, publisher: Publisher) -> Iterator[Reader]:
    with Reader.from_url(server.url, prefix=publisher.keys.prefix) as made:
        yield made


@pytest.fixture
def session(reader: Reader) -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.auth = TokenAuth(reader, "acct-1")
        yield made


def test_the_token_is_attached(api: Api, session: requests.Session, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    api.good = {"access-acct-1-1"}
    assert session.get(api.url).status_code == 200
    assert api.requests == [("Bearer access-acct-1-1", b"")]


@pytest.mark.parametrize("body", [None, b"bytes", "text", {"form": "x"}, io.BytesIO(b"??file")])
def test_a_refused_token_is_reported_awaited_and_the_request_sent_once_more(
    api: Api, session: requests.Session, publisher: Publisher, body: Any
) -> None:
    publisher.publish("acct-1", 1)
    api.good = {"access-acct-1-2"}
    if isinstance(body, io.BytesIO):
        body.seek(2)
    with rotating(publisher, 2):
        response = session.post(api.url, data=body)
    assert (response.status_code, len(response.history)) == (200, 1)
    (first, first_body), (second, second_body) = api.requests
    assert (first, second) == ("Bearer access-acct-1-1", "Bearer access-acct-1-2")
    assert first_body == second_body
    assert first_body in {b"", b"bytes", b"text", b"form=x", b"file"}
    assert len(publisher.reports()) == 1


def test_a_second_refusal_is_returned(api: Api, session: requests.Session, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    with rotating(publisher, 2):
        response = session.get(api.url)
    assert (response.status_code, response.text) == (401, "no")
    assert len(api.requests) == 2
    assert len(publisher.reports()) == 1


def test_without_a_newer_token_the_response_is_returned_unchanged(
    api: Api, reader: Reader, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1)
    response = requests.get(api.url, auth=TokenAuth(reader, "acct-1", wait_s=0.05), stream=True, timeout=10)
    assert (response.status_code, response.raw.read()) == (401, b"no")
    assert len(api.requests) == len(publisher.reports()) == 1


@pytest.mark.parametrize(("asked", "reports"), [((401,), 0), ((401, 403), 1)])
def test_403_only_if_asked(
    api: Api, reader: Reader, publisher: Publisher, asked: tuple[int, ...], reports: int
) -> None:
    publisher.publish("acct-1", 1)
    api.refusal = 403
    auth = TokenAuth(reader, "acct-1", rejected_statuses=asked, wait_s=0)
    assert requests.get(api.url, auth=auth, timeout=10).status_code == 403
    assert len(publisher.reports()) == reports


def test_a_stream_that_cannot_be_sent_twice_is_not(api: Api, reader: Reader, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    auth = TokenAuth(reader, "acct-1", wait_s=30)
    started_at = time.monotonic()
    response = requests.post(api.url, data=iter([b"one", b"two"]), auth=auth, timeout=10)
    assert time.monotonic() - started_at < 30
    assert response.status_code == 401
    assert [body for _, body in api.requests] == [b"onetwo"]
    assert len(publisher.reports()) == 1


def test_no_token_to_begin_with_is_the_readers_error(
    api: Api, session: requests.Session, publisher: Publisher
) -> None:
    publisher.state("acct-1", AccountState("reauthorize", 1, "invalid_grant"))
    with pytest.raises(Reauthorize):
        session.get(api.url)
    assert api.requests == []


def test_a_refusal_by_another_host_is_not_reported(
    api: Api, session: requests.Session, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1)
    assert session.get(api.url + "away").status_code == 401
    assert [authorization for authorization, _ in api.requests] == ["Bearer access-acct-1-1", None]
    assert publisher.reports() == []


def test_threads_that_are_refused_at_once_all_succeed(
    api: Api, session: requests.Session, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1)
    api.good = {"access-acct-1-2"}
    with rotating(publisher, 2), ThreadPoolExecutor(20) as threads:
        statuses = [answer.status_code for answer in threads.map(session.get, [api.url] * 100)]
    assert set(statuses) == {200}
