"""Which requests go past FastAPI's own search for their route."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.routing import Match

from worker.api.application import make_app
from worker.api.routes import DIRECT
from worker.api.routes.grants import router

_USUAL = {
    "type": "http",
    "method": "PUT",
    "path": "/v1/accounts/acme:acct-1@x/grant",
    "query_string": b"",
    "root_path": "",
}


def test_a_grant_goes_straight_to_its_documented_route() -> None:
    match, child = DIRECT[0].matches(_USUAL)
    assert (match, child) == (
        Match.FULL,
        {"route": router.routes[0], "path_params": {"id": "acme:acct-1@x"}},
    )
    assert make_app().router.routes[0] is DIRECT[0]


@pytest.mark.parametrize(
    "odd",
    [
        {"method": "GET"},
        {"method": "HEAD"},
        {"type": "websocket"},
        {"query_string": b"verify=true"},
        {"root_path": "/mounted"},
        {"path": "/v1/accounts//grant"},
        {"path": "/v1/accounts/grant"},
        {"path": "/v1/accounts/a/b/grant"},
        {"path": "/v1/accounts/a b/grant"},
        {"path": "/v1/accounts/acct-1/grant/"},
        {"path": "/v1/accounts/acct-1/grant\n"},
        {"path": "/x/v1/accounts/acct-1/grant"},
        {"path": f"/v1/accounts/{'x' * 300}/grant"},
    ],
    ids=str,
)
def test_any_other_request_goes_fastapis_way(odd: dict[str, Any]) -> None:
    assert DIRECT[0].matches(_USUAL | odd) == (Match.NONE, {})
