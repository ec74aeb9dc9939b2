"""Proof of possession as a server sees it that nobody here wrote, and that wants its nonce in each proof (RFC 9449)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import redis
from joserfc.jwk import ECKey, OKPKey
from msgspec.structs import replace

from models.answer import Verdict
from models.providers import ClientAuth, Provider
from models.refresh_request import RefreshRequest
from models.tables.attempt import Trigger
from models.token import Secret
from refreshd_reader import Reader
from refreshd_reader.dpop import ProofKey
from refreshd_reader.httpx import TokenAuth
from tests.oidc.conftest import SECRET, Deployment
from tests.oidc.consent import SCOPE
from tests.oidc.granted import ask, granted
from tests.oidc.server import AuthorizationServer
from worker.policy.verdicts.verdict import judge
from worker.providers.client import ProviderClient
from worker.refresh.attempt import Origin
from worker.runtime import Runtime

KEY = ECKey.generate_key("P-256")
PEM = KEY.as_pem(private=True).decode()
PUBLIC = ("dpop", ClientAuth.NONE)
_ANSWER_S = 60.0
CONFIDENTIAL = ("dpop-with-secret", ClientAuth.BASIC)


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    made = ProviderClient(allow_http_hosts=["127.0.0.1"])
    yield made
    await made.aclose()


def request_of(
    server: AuthorizationServer, who: tuple[str, ClientAuth] = PUBLIC, dpop: object = True, key: str = PEM
) -> RefreshRequest:
    client_id, auth = who
    knobs = {
        "name": "oidc",
        "token_url": server.token_url,
        "authorize_url": server.authorize_url,
        "authorize_params": {"prompt": "consent"},
        "client_auth": auth,
        "dpop": dpop,
    }
    return RefreshRequest(
        account_id="acct",
        provider=Provider.model_validate(knobs),
        client_id=client_id,
        client_secret=Secret(SECRET),
        scope=SCOPE,
        custom_fields={"dpop_key": Secret(key)},
    )


def nonces_wanted(server: AuthorizationServer) -> int:
    errors: dict[str, int] = server.tally()["errors"]
    return sum(count for words, count in errors.items() if words.startswith("use_dpop_nonce"))


@pytest.mark.parametrize("who", [PUBLIC, CONFIDENTIAL], ids=lambda who: who[0])
async def test_a_bound_grant_is_had_and_refreshed(
    server: AuthorizationServer, client: ProviderClient, who: tuple[str, ClientAuth]
) -> None:
    before = nonces_wanted(server)
    request = await granted(client, request_of(server, who))
    assert nonces_wanted(server) == before + 1, "the server asked for its nonce, once"

    for _ in range(2):
        answer = await ask(client, request)
        assert answer.token is not None, answer
        assert answer.token.token_type == "DPoP"
        assert answer.token.refresh_token is not None
        request = replace(request, refresh_token=answer.token.refresh_token)
    assert nonces_wanted(server) == before + 1, "from then on it is in the first proof"


async def test_a_worker_that_knows_no_nonce_loses_no_grant(
    server: AuthorizationServer, client: ProviderClient
) -> None:
    request = await granted(client, request_of(server))
    before, refreshed = nonces_wanted(server), server.tally()["refreshed"]
    another = ProviderClient(allow_http_hosts=["127.0.0.1"])

    answer = await ask(another, request)
    await another.aclose()

    assert answer.token is not None, answer
    assert nonces_wanted(server) == before + 1
    assert server.tally()["refreshed"] == refreshed + 1
    assert answer.request is not None
    assert answer.request.endswith("sent again: it had asked for its nonce")


async def test_ed25519_signs_as_well(server: AuthorizationServer, client: ProviderClient) -> None:
    key = OKPKey.generate_key("Ed25519").as_pem(private=True).decode()
    request = await granted(client, request_of(server, dpop="Ed25519", key=key))
    assert (await ask(client, request)).token is not None


async def test_another_key_is_refused_and_the_grant_lives(
    server: AuthorizationServer, client: ProviderClient
) -> None:
    """RFC 9449 section 5: the refresh token of a public client is bound to its key. The server says no more."""
    request = await granted(client, request_of(server))
    another = ECKey.generate_key("P-256").as_pem(private=True).decode()

    answer = await ask(client, replace(request, custom_fields={"dpop_key": Secret(another)}))

    assert judge(answer, ()).reason == "invalid_grant"
    assert (await ask(client, request)).token is not None


async def test_a_client_with_a_secret_may_change_its_key(
    server: AuthorizationServer, client: ProviderClient
) -> None:
    """RFC 9449 section 5: its refresh token is bound to the client by its authentication."""
    request = await granted(client, request_of(server, CONFIDENTIAL))
    another = ECKey.generate_key("P-256").as_pem(private=True).decode()

    answer = await ask(client, replace(request, custom_fields={"dpop_key": Secret(another)}))

    assert answer.token is not None, answer
    assert answer.token.token_type == "DPoP"


async def test_a_refused_proof_is_the_configuration_s_and_the_grant_lives(
    server: AuthorizationServer, client: ProviderClient
) -> None:
    """This server takes ES256 and Ed25519."""
    request = await granted(client, request_of(server))
    wrong = request_of(server, dpop="ES384", key=ECKey.generate_key("P-384").as_pem(private=True).decode())

    answer = await ask(client, replace(wrong, refresh_token=request.refresh_token))

    judgement = judge(answer, ())
    assert (judgement.verdict, judgement.reason) == (Verdict.MISCONFIGURED, "invalid_dpop_proof")
    assert (await ask(client, request)).token is not None


def rejections(deployment: Deployment) -> int:
    with redis.Redis.from_url(deployment.environment["REFRESHD_REDIS_URL"]) as client:
        return int(client.xlen("refreshd:rejected"))


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "dpop.pem"
    path.write_text(PEM)
    path.chmod(0o600)
    return str(path)


def test_an_account_is_authorized_refreshed_and_used_by_a_connector_that_holds_its_key(
    server: AuthorizationServer, deployment: Deployment, key_file: str
) -> None:
    ran = deployment.refreshd(
        *("accounts", "authorize", "acct", f"token_url={server.token_url}"),
        *(f"authorize_url={server.authorize_url}", 'authorize_params={"prompt": "consent"}'),
        *("client_id=dpop", "client_auth=none", f"scope={SCOPE}", "dpop=true"),
        *(f"custom_fields.dpop_key=@{key_file}", "--json"),
        login="alice",
    )
    assert ran.exit_code == 0, ran.stderr
    assert "PRIVATE KEY" not in ran.stdout + ran.stderr

    runtime = Runtime(deployment.settings, worker="test")
    try:
        found = runtime.run(runtime.refresher.refresh([("acct", 1)], Origin(Trigger.FORCED)))
    finally:
        runtime.close()
    assert found["acct"].outcome.value == "refreshed"

    with Reader.from_url(deployment.environment["REFRESHD_REDIS_URL"]) as reader:
        token = reader.get("acct")
        assert (token.token_type, token.generation) == ("DPoP", 2)
        auth = TokenAuth(reader, "acct", dpop_key=ProofKey(PEM))
        with httpx.Client(auth=auth, timeout=_ANSWER_S) as connector:
            answers = [connector.get(server.userinfo_url) for _ in range(2)]
        rejected = rejections(deployment)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["sub"] == "alice"
    assert [len(answer.history) for answer in answers] == [1, 0], "the resource asked for its nonce, once"
    assert rejected == 0
