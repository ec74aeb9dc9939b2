"""A grant by refreshd's own requests: a person consents in a browser, and the code is exchanged as a worker would."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec.structs import replace

from models.answer import Answer
from models.refresh_request import RefreshRequest
from tests.oidc.browser import Browser, query_of
from tests.oidc.server import REDIRECT_URI
from tests.support.waiting import PATIENCE_S
from worker.clock import wall_clock
from worker.providers.authorization import Asking, code_request, consent_url
from worker.providers.client import ProviderClient
from worker.providers.request.builder import RequestBuilder

_CALL_S: Final = PATIENCE_S


async def ask(client: ProviderClient, request: RefreshRequest) -> Answer:
    return await client.call(request, deadline=asyncio.get_running_loop().time() + _CALL_S)


async def granted(client: ProviderClient, request: RefreshRequest) -> RefreshRequest:
    """Have a person consent; returns the request with the refresh token that came of it."""
    asking = Asking.begin(REDIRECT_URI)
    page = consent_url(request, asking, check=RequestBuilder(["127.0.0.1"]).check, now=wall_clock())
    with Browser("alice") as browser:
        redirect = query_of(await asyncio.to_thread(browser.open, page, until=REDIRECT_URI))
    assert redirect["state"] == asking.state
    answer = await ask(client, code_request(request, asking, redirect["code"]))
    assert answer.token is not None, answer
    assert answer.token.refresh_token is not None
    return replace(request, refresh_token=answer.token.refresh_token)
