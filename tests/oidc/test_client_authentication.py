"""Each way for a client to prove itself, as a server sees it that nobody here wrote (RFC 6749 section 2.3, RFC 7523)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from models.answer import Verdict
from models.providers import ClientAuth, Provider
from models.providers.assertion import Assertion, SigningAlgorithm
from models.refresh_request import RefreshRequest
from models.token import Secret
from tests.oidc.conftest import SECRET, SIGNED_BY
from tests.oidc.consent import SCOPE
from tests.oidc.granted import ask, granted
from tests.oidc.keys import new_key, pem_of, private_pem
from tests.oidc.server import AuthorizationServer
from worker.policy.verdicts.verdict import judge
from worker.providers.client import ProviderClient


@dataclass(frozen=True)
class Way:
    """One way to authenticate; `client_id` is what the server knows it by."""

    client_id: str
    client_auth: ClientAuth
    algorithm: SigningAlgorithm | None = None


WAYS = [
    Way("public", ClientAuth.NONE),
    Way("client_secret_post", ClientAuth.BODY),
    Way("client_secret_basic", ClientAuth.BASIC),
    Way("client_secret_jwt", ClientAuth.CLIENT_SECRET_JWT),
    *(Way(f"private_key_jwt-{one}", ClientAuth.PRIVATE_KEY_JWT, one) for one in SIGNED_BY),
]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.client_id)


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    made = ProviderClient(allow_http_hosts=["127.0.0.1"])
    yield made
    await made.aclose()


def request_of(server: AuthorizationServer, way: Way) -> RefreshRequest:
    provider = Provider(
        name="oidc",
        token_url=server.token_url,
        authorize_url=server.authorize_url,
        authorize_params={"prompt": "consent"},
        client_auth=way.client_auth,
        client_assertion=Assertion(algorithm=way.algorithm),
    )
    key = {} if way.algorithm is None else {"private_key": Secret(private_pem(way.algorithm))}
    return RefreshRequest(
        account_id="acct",
        provider=provider,
        client_id=way.client_id,
        client_secret=Secret(SECRET),
        scope=SCOPE,
        custom_fields=key,
    )


@each_way
async def test_a_code_and_then_refresh_tokens_are_exchanged(
    server: AuthorizationServer, client: ProviderClient, way: Way
) -> None:
    request = await granted(client, request_of(server, way))
    for _ in range(2):
        answer = await ask(client, request)
        assert answer.token is not None, answer
        assert answer.token.refresh_token not in {None, request.refresh_token}
        assert answer.token.expires_in_s == 3600
        request = replace(request, refresh_token=answer.token.refresh_token)


@each_way
async def test_who_is_not_the_client_is_told_so_and_the_grant_lives(
    server: AuthorizationServer, client: ProviderClient, way: Way
) -> None:
    request = await granted(client, request_of(server, way))
    wrong = replace(
        request,
        client_id="nobody" if way.client_auth is ClientAuth.NONE else way.client_id,
        client_secret=Secret("another secret of more than 32 characters"),
        custom_fields={"private_key": Secret(pem_of(new_key(way.algorithm)))} if way.algorithm else {},
    )

    answer = await ask(client, wrong)

    assert answer.status == 401
    assert answer.error == "invalid_client"
    assert judge(answer, ()).verdict is Verdict.MISCONFIGURED
    assert (await ask(client, request)).token is not None


async def test_a_spent_refresh_token_is_read_as_the_end_of_the_grant(
    server: AuthorizationServer, client: ProviderClient
) -> None:
    request = await granted(client, request_of(server, WAYS[0]))
    first = await ask(client, request)
    assert first.token is not None

    answer = await ask(client, request)

    assert judge(answer, ()).verdict is Verdict.REAUTHORIZE
    after = await ask(client, replace(request, refresh_token=first.token.refresh_token))
    assert judge(after, ()).verdict is Verdict.REAUTHORIZE
