"""The wire of a provider, scripted: what was asked is kept, what is answered is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx

from models.answer import Answer
from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.tables.account import RefreshMethod
from models.token import Secret, TokenResponse
from worker.providers.client import ProviderClient

NOW = 1_800_000_000.0
TOKEN = {"access_token": "AT-2", "token_type": "Bearer", "expires_in": 3600}

Reply = httpx.Response | Callable[[httpx.Request], httpx.Response]


@dataclass
class Wire:
    """Records every request, and answers each with `reply`."""

    reply: Reply = field(default_factory=lambda: httpx.Response(200, json=TOKEN))
    asked: list[httpx.Request] = field(default_factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.reply if isinstance(self.reply, httpx.Response) else self.reply(request)

    @property
    def request(self) -> httpx.Request:
        assert len(self.asked) == 1, "exactly one request is sent"
        return self.asked[0]

    async def call(self, request: RefreshRequest, *, time_s: float = 5.0) -> Answer:
        client = ProviderClient(
            transport=httpx.MockTransport(self.handle), allow_http_hosts=["localhost"], now=lambda: NOW
        )
        return await client.call(request, deadline=asyncio.get_running_loop().time() + time_s)


def provider(**knobs: object) -> Provider:
    """Return a provider whose accounts may have any token URL of their own; `hosts=None` takes that back."""
    basics = {"name": "p", "token_url": "https://auth.example.com/token", "hosts": ["*"]}
    return Provider.model_validate({**basics, **knobs})


def account(of: Provider | None = None, /, **fields: object) -> RefreshRequest:
    """An account with an id, a secret and both tokens; `custom` gives its custom fields as texts."""
    custom = fields.pop("custom", {})
    assert isinstance(custom, Mapping)
    texts = {name: fields.pop(name, default) for name, default in _CREDENTIALS.items()}
    secrets: dict[str, Any] = {
        name: None if text is None else Secret(str(text)) for name, text in texts.items()
    }
    return RefreshRequest(
        account_id="acct-1",
        provider=of or provider(),
        refresh_method=RefreshMethod(str(fields.pop("refresh_method", "body"))),
        client_id=fields.pop("client_id", "client-1"),  # type: ignore[arg-type]
        custom_fields={name: Secret(str(value)) for name, value in custom.items()},
        **secrets,
        **fields,  # type: ignore[arg-type]
    )


_CREDENTIALS: dict[str, object] = {
    "client_secret": "s3cret-1",
    "access_token": "AT-1",
    "refresh_token": "RT-1",
}


def form(request: httpx.Request) -> dict[str, str]:
    """The body's form fields; a name that stands twice fails."""
    pairs = parse_qsl(request.content.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def query(request: httpx.Request) -> dict[str, str]:
    """The URL's parameters; a name that stands twice fails."""
    pairs = parse_qsl(request.url.query.decode(), keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def json_body(request: httpx.Request) -> object:
    return json.loads(request.content)


async def read(
    body: object = b"",
    /,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    knobs: Mapping[str, object] | None = None,
    **fields: object,
) -> Answer:
    """Answer one call with this body (bytes as they are, the rest as JSON), and give what was read."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    wire = Wire(httpx.Response(status, content=content, headers=headers))
    return await wire.call(account(provider(**(knobs or {})), **fields))


def token_of(answer: Answer) -> TokenResponse:
    assert answer.token is not None
    return answer.token
