"""The loopback server that waits for a consent's redirect: it takes the one answer that it waits for."""

from __future__ import annotations

import socket

import httpx
import pytest

from worker.providers.authorization.loopback_redirect import LoopbackRedirect, is_answer, parameters_of


def get(server: LoopbackRedirect, query: str = "", *, path: str | None = None) -> httpx.Response:
    url = httpx.URL(server.redirect_uri)
    return httpx.get(url.copy_with(path=path or url.path, query=query.encode()), timeout=5)


def test_the_answer_is_handed_over_and_the_page_says_so() -> None:
    with LoopbackRedirect("s1") as server:
        page = get(server, "code=c1&state=s1&iss=https%3A%2F%2Facme.example")
        assert server.wait(5) == {"code": "c1", "state": "s1", "iss": "https://acme.example"}
    assert page.status_code == 200
    assert "can be closed" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"


def test_a_refusal_is_an_answer_and_its_words_are_not_put_into_the_page() -> None:
    with LoopbackRedirect("s1") as server:
        page = get(server, "error=<script>&state=s1")
        assert server.wait(5) == {"error": "<script>", "state": "s1"}
    assert "<script>" not in page.text


@pytest.mark.parametrize(
    "query", ["code=c1&state=other", "code=c1", "state=s1", "", "code=c1&state=s1x", "code=c1&state=%FF"]
)
def test_whatever_else_comes_is_refused_and_waited_past(query: str) -> None:
    with LoopbackRedirect("s1") as server:
        assert get(server, query).status_code == 400
        assert get(server, path="/favicon.ico").status_code == 404
        get(server, "code=right&state=s1")
        assert server.wait(5) == {"code": "right", "state": "s1"}


def test_it_listens_where_the_client_is_registered_on_loopback_alone() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with LoopbackRedirect("s1", f"http://localhost:{port}/oauth/back?tab=1") as server:
        assert server.redirect_uri == f"http://localhost:{port}/oauth/back?tab=1"
        assert httpx.get(f"http://127.0.0.1:{port}/oauth/back?tab=1&code=c&state=s1").status_code == 200
        assert server.wait(5) == {"tab": "1", "code": "c", "state": "s1"}


def test_a_port_that_is_taken_is_said_at_once() -> None:
    with LoopbackRedirect("s1") as server, pytest.raises(OSError, match="in use"):
        LoopbackRedirect("s2", server.redirect_uri)


def test_nobody_answers() -> None:
    with LoopbackRedirect("s1") as server:
        assert server.wait(0) is None


def test_a_pasted_address_is_read_like_a_redirect() -> None:
    parameters = parameters_of("https://acme.example/done?code=a%2Fb&state=s1#top")
    assert parameters == {"code": "a/b", "state": "s1"}
    assert is_answer(parameters, "s1")
    assert not is_answer(parameters, "s2")
