"""Tokens that are bound to a key (DPoP, RFC 9449): the auths prove it, and take no refused proof for a refused token."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key
from requests.adapters import BaseAdapter

from refreshd_reader import AsyncReader, Reader
from refreshd_reader.dpop import ProofKey
from refreshd_reader.httpx import AsyncTokenAuth, TokenAuth
from refreshd_reader.requests import TokenAuth as RequestsAuth
from tests.integration.reader.publisher import Face, Publisher, until
from tests.support.services import RedisServer

KEY = ECKey.generate_key("P-256")
PEM = KEY.as_pem(private=True).decode()
#: secp112r1, which OpenSSL makes and nobody signs with.
OF_AN_UNKNOWN_CURVE = """-----BEGIN PRIVATE KEY-----
ME4CAQAwEAYHKoZIzj0CAQYFK4EEAAYENzA1AgEBBA5+qEv0An/LEZ4rFJJXEKEg
Ax4ABFzyzPPeGajDii9Uu4ZnSxN1OGGcAJb1B53/JC8=
-----END PRIVATE KEY-----"""
URL = "https://api.example.com/things?page=2"


class Api(httpx.BaseTransport, httpx.AsyncBaseTransport, BaseAdapter):
    """An API that checks each proof, for either client; it wants the nonces of `nonces`, one after the other."""

    def __init__(self, *nonces: str, good: str = "access-acct-1-1") -> None:
        super().__init__()
        self.good = good
        self.nonces = list(nonces)
        self.wanted: str | None = None
        self.proofs: list[dict[str, Any]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        b"".join(request.stream)
        return self._answer(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        [chunk async for chunk in request.stream]
        return self._answer(request)

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        asked = httpx.Request(request.method or "", request.url or "", headers=dict(request.headers))
        given = self._answer(asked)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = given.status_code, request, request.url or ""
        answer.headers.update(given.headers)
        answer._content = b""
        answer.connection = self  # type: ignore[assignment]
        return answer

    def close(self) -> None: ...

    async def aclose(self) -> None: ...

    def _answer(self, request: httpx.Request) -> httpx.Response:
        scheme, _, token = request.headers["authorization"].partition(" ")
        text = request.headers["dpop"]
        head = text.partition(".")[0]
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        assert (header["typ"], scheme) == ("dpop+jwt", "DPoP")
        assert set(header["jwk"]) == {"kty", "crv", "x", "y"}
        claims = jwt.decode(text, import_key(header["jwk"]), algorithms=["ES256"]).claims
        self.proofs.append(claims)
        digest = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        assert (claims["htm"], claims["htu"]) == (request.method, "https://api.example.com/things")
        assert claims["ath"] == digest
        if claims.get("nonce") != self.wanted or (self.wanted is None and self.nonces):
            self.wanted = self.nonces.pop(0) if self.nonces else "another"
            return _refusal("use_dpop_nonce", self.wanted)
        if token != self.good:
            return _refusal("invalid_token", self.wanted)
        return httpx.Response(200, headers={"DPoP-Nonce": self.wanted} if self.wanted else {})


def _refusal(error: str, nonce: str | None) -> httpx.Response:
    headers = {"WWW-Authenticate": f'DPoP algs="ES256", error="{error}"'}
    return httpx.Response(401, headers=headers | ({"DPoP-Nonce": nonce} if nonce else {}))


@pytest.fixture
def bound(publisher: Publisher) -> Publisher:
    publish(publisher, 1)
    return publisher


def publish(publisher: Publisher, generation: int) -> None:
    publisher.publish("acct-1", generation, token_type="DPoP")


async def call(face: Face, api: Api, key: ProofKey, method: str = "GET", **more: Any) -> httpx.Response:
    if isinstance(face.reader, AsyncReader):
        asynchronous = AsyncTokenAuth(face.reader, "acct-1", dpop_key=key)
        async with httpx.AsyncClient(auth=asynchronous, transport=api) as client:
            return await client.request(method, URL, **more)
    auth = TokenAuth(face.reader, "acct-1", dpop_key=key)
    with httpx.Client(auth=auth, transport=api) as client:
        return await asyncio.to_thread(client.request, method, URL, **more)


async def test_each_request_proves_the_key(face: Face, bound: Publisher) -> None:
    api, key = Api(), ProofKey(PEM)
    assert [(await call(face, api, key, method)).status_code for method in ("GET", "POST")] == [200, 200]
    assert len({claims["jti"] for claims in api.proofs}) == 2
    assert bound.reports() == []


async def test_a_nonce_is_fetched_and_kept_and_the_token_is_not_reported(
    face: Face, bound: Publisher
) -> None:
    api, key = Api("n-1"), ProofKey(PEM)
    assert [(await call(face, api, key, json={"a": 1})).status_code for _ in range(2)] == [200, 200]
    assert [claims.get("nonce") for claims in api.proofs] == [None, "n-1", "n-1"]
    assert bound.reports() == []


async def test_a_nonce_is_fetched_once_a_request(face: Face, bound: Publisher) -> None:
    """The API never takes the one it gave: its answer comes back as it is."""

    class Never(Api):
        def _answer(self, request: httpx.Request) -> httpx.Response:
            self.wanted = "none of them"
            return super()._answer(request)

    api = Never("n-1", "n-2", "n-3")
    assert (await call(face, api, ProofKey(PEM))).status_code == 401
    assert len(api.proofs) == 2
    assert bound.reports() == []


async def test_a_refused_token_is_replaced_and_the_new_one_proved(face: Face, bound: Publisher) -> None:
    api = Api("n-1", good="access-acct-1-2")
    request = asyncio.create_task(call(face, api, ProofKey(PEM)))
    await until(lambda: len(bound.reports()) == 1)
    publish(bound, 2)
    assert (await request).status_code == 200
    assert [claims.get("nonce") for claims in api.proofs] == [None, "n-1", "n-1"]
    assert len({claims["ath"] for claims in api.proofs}) == 2


@pytest.fixture
def reader(server: RedisServer, publisher: Publisher) -> Iterator[Reader]:
    with Reader.from_url(server.url, prefix=publisher.keys.prefix) as made:
        yield made


def test_requests_proves_and_fetches_a_nonce_as_well(reader: Reader, bound: Publisher) -> None:
    api = Api("n-1")
    with requests.Session() as session:
        session.mount("https://", api)
        session.auth = RequestsAuth(reader, "acct-1", dpop_key=ProofKey(PEM))
        assert [session.post(URL, data=b"x").status_code for _ in range(2)] == [200, 200]
    assert [claims.get("nonce") for claims in api.proofs] == [None, "n-1", "n-1"]
    assert bound.reports() == []


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        ("no key", "ES256"),
        ('{"kty": "EC"}', "ES256"),
        (KEY.as_pem(private=False).decode(), "ES256"),
        (PEM, "ES384"),
        (PEM, "RS256"),
        (OF_AN_UNKNOWN_CURVE, "ES256"),
        (PEM, "HS256"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_and_not_shown(key: str, algorithm: str) -> None:
    with pytest.raises(ValueError, match="not a private key for") as error:
        ProofKey(key, algorithm)
    assert key not in str(error.value)


def test_a_key_shows_its_thumbprint_alone() -> None:
    key = ProofKey(json.dumps({**KEY.as_dict(private=True), "kid": "mine"}))
    assert repr(key) == f"ProofKey(thumbprint='{KEY.thumbprint()}')"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSAKey.generate_key(2048), "PS256"), (OKPKey.generate_key("Ed25519"), "Ed25519")],
    ids=["PS256", "Ed25519"],
)
def test_other_algorithms(key: RSAKey | OKPKey, algorithm: str) -> None:
    proof = ProofKey(key.as_pem(private=True).decode(), algorithm).proof("GET", URL, "token")
    assert proof.count(".") == 2
