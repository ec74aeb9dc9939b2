"""Proof of possession at the token endpoint (DPoP, RFC 9449): what is proved, and the one case of a second request."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import structlog
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key
from joserfc.jws import JWSRegistry
from msgspec.structs import replace

from models.answer import Answer, Fault, Verdict
from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.token import Secret
from tests.support.providers.provider_double import NOW, TOKEN, Wire, account, provider
from tests.unit.providers.test_assertions import BRAINPOOL
from worker.policy.verdicts.verdict import judge
from worker.providers.authorization import Asking, consent_url, device_request
from worker.providers.client import ProviderClient
from worker.providers.revocation import revocation_request

KEY = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
#: An RSA key in a header is longer than joserfc takes by itself.
ROOMY = JWSRegistry(algorithms=["ES256", "PS256", "Ed25519"])
ROOMY.max_header_length = 2048
ED = OKPKey.generate_key("Ed25519")
BOUND = {**TOKEN, "token_type": "DPoP", "refresh_token": "RT-2"}


def pem(key: ECKey | RSAKey | OKPKey = KEY) -> str:
    return key.as_pem(private=True).decode()


def bound(key: str | None = None, /, **knobs: object) -> RefreshRequest:
    """An account at a provider that wants proofs."""
    return account(provider(**{"dpop": True, **knobs}), custom={"dpop_key": pem() if key is None else key})


def proof(request: httpx.Request) -> jwt.Token:
    """Read a request's proof as a server does: by the key that it names itself."""
    text = request.headers["dpop"]
    head = text.partition(".")[0]
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    return jwt.decode(
        text, import_key(header["jwk"]), algorithms=["ES256", "PS256", "Ed25519"], registry=ROOMY
    )


def wants_nonce(nonce: str | None, status: int = 400) -> httpx.Response:
    return httpx.Response(
        status, json={"error": "use_dpop_nonce"}, headers={} if nonce is None else {"DPoP-Nonce": nonce}
    )


def ok(nonce: str | None = None, **fields: object) -> httpx.Response:
    return httpx.Response(
        200, json={**BOUND, **fields}, headers={} if nonce is None else {"DPoP-Nonce": nonce}
    )


class Server:
    """Answers one request after the other, as they stand in a list; keeps one client's nonces between calls."""

    def __init__(self, *replies: httpx.Response | Callable[[httpx.Request], httpx.Response]) -> None:
        self.replies = list(replies)
        self.asked: list[httpx.Request] = []
        self.client = ProviderClient(transport=httpx.MockTransport(self._handle), now=lambda: NOW)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.replies.pop(0)
        return reply if isinstance(reply, httpx.Response) else reply(request)

    async def call(
        self, request: RefreshRequest | None = None, *, time_s: float = 30.0, sent: list[float] | None = None
    ) -> Answer:
        noted = [] if sent is None else sent
        return await self.client.call(
            bound() if request is None else request,
            deadline=asyncio.get_running_loop().time() + time_s,
            on_send=lambda: noted.append(NOW),
        )

    @property
    def nonces(self) -> list[Any]:
        return [proof(request).claims.get("nonce") for request in self.asked]


async def test_no_proof_is_sent_unless_the_provider_wants_one() -> None:
    wire = Wire()
    await wire.call(account(custom={"dpop_key": pem()}))
    assert "dpop" not in wire.request.headers


async def test_a_proof_says_what_is_asked_and_by_whose_key() -> None:
    """RFC 9449 section 4.2: `htu` has no query, `jwk` nothing of the private key, and `ath` is for resources."""
    wire = Wire(ok())
    answer = await wire.call(bound(token_url="https://auth.example.com/token?tenant=1#x", params_in="query"))

    found = proof(wire.request)
    assert wire.request.url.query, "the query was sent"
    assert found.header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": found.header["jwk"]}
    assert set(found.header["jwk"]) == {"kty", "crv", "x", "y"}
    assert found.claims == {
        "jti": found.claims["jti"],
        "htm": "POST",
        "htu": "https://auth.example.com/token",
        "iat": NOW,
    }
    assert answer.token is not None
    assert answer.token.token_type == "DPoP"
    assert answer.request is not None
    assert answer.request.endswith(f" dpop(key {KEY.thumbprint()})")


async def test_each_proof_is_used_once() -> None:
    server = Server(ok(), ok())
    await server.call()
    await server.call()
    assert len({proof(request).claims["jti"] for request in server.asked}) == 2


@pytest.mark.parametrize(
    ("dpop", "key"),
    [("ES256", json.dumps({**KEY.as_dict(private=True), "kid": "mine", "use": "sig"})),
     ("ES256", pem().replace("\n", "\\n")), ("PS256", pem(RSA)), ("Ed25519", pem(ED))],
)  # fmt: skip
async def test_algorithms_and_keys(dpop: str, key: str) -> None:
    """PEM, PEM on one line, and JWK; of a JWK only what makes the public key is shown."""
    wire = Wire(ok())
    await wire.call(bound(key, dpop=dpop))
    header = proof(wire.request).header
    assert header["alg"] == dpop
    assert not {"d", "p", "q", "kid", "use"} & set(header["jwk"])


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "custom_fields.dpop_key: the account has none, and this provider needs one"),
        ("no key", "custom_fields.dpop_key: no private key for ES256 (a PEM or a JWK)"),
        (KEY.as_pem(private=False).decode(), "custom_fields.dpop_key: a public key can't sign ES256"),
        (pem(RSA), "custom_fields.dpop_key: no private key for ES256 (a PEM or a JWK)"),
        (BRAINPOOL, "custom_fields.dpop_key: no private key for ES256 (a PEM or a JWK)"),
        (pem(ECKey.generate_key("P-384")), "custom_fields.dpop_key: a key of another kind than ES256 wants"),
    ],
)
async def test_a_key_that_does_not_fit_is_named_and_nothing_is_sent(key: str, words: str) -> None:
    wire = Wire()
    answer = await wire.call(bound(key))
    assert (answer.fault, answer.fault_detail) == (Fault.NO_PROOF, words)
    assert judge(answer, ()).reason == "dpop_key_unfit"
    assert not wire.asked


def encoded(payload: object) -> str:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def access_token(payload: object) -> Secret:
    return Secret(f"{encoded({'alg': 'RS256'})}.{encoded(payload)}.c2ln")


async def test_a_key_that_the_access_token_is_not_bound_to_is_refused_and_nothing_is_sent() -> None:
    """RFC 9449 section 6.1: `cnf.jkt` says whose grant it is; at some servers another key costs it."""
    wire, theirs = Wire(), ECKey.generate_key("P-256").thumbprint()
    answer = await wire.call(replace(bound(), access_token=access_token({"cnf": {"jkt": theirs}})))
    assert answer.fault is Fault.WRONG_KEY
    assert answer.fault_detail is not None
    assert answer.fault_detail.startswith("custom_fields.dpop_key: ")
    assert KEY.thumbprint() in answer.fault_detail
    assert theirs in answer.fault_detail
    judgement = judge(answer, ())
    assert (judgement.verdict, judgement.reason) == (Verdict.MISCONFIGURED, "dpop_key_mismatch")
    assert not wire.asked


async def test_a_client_with_a_secret_may_change_its_key_where_the_account_says_so() -> None:
    """RFC 9449 section 5: its refresh token is bound to the client, not to the key."""
    wire, theirs = Wire(ok()), ECKey.generate_key("P-256").thumbprint()
    request = bound(dpop_key_may_change=True)
    await wire.call(replace(request, access_token=access_token({"cnf": {"jkt": theirs}})))
    assert wire.asked


@pytest.mark.parametrize(
    "token",
    [
        access_token({"cnf": {"jkt": KEY.thumbprint()}}),
        access_token({"sub": "alice"}),
        access_token({"cnf": {"x5t#S256": "another"}}),
        access_token({"cnf": None}),
        access_token({"cnf": {"jkt": 7}}),
        access_token({"cnf": {"jkt": ""}}),
        access_token([]),
        access_token("{"),
        access_token("[" * 100_000),
        access_token('{"n": ' + "9" * 5_000 + "}"),
        Secret("opaque"),
        Secret("a.b.c"),
        Secret("..\u20ac."),
        Secret("a.b.c.d.e"),
        None,
    ],
    ids=range(15),
)
async def test_a_token_that_is_not_known_to_be_anothers_is_no_reason_to_refuse(token: Secret | None) -> None:
    wire = Wire(ok())
    await wire.call(replace(bound(), access_token=token))
    assert wire.asked


@pytest.mark.parametrize("dpop", ["HS256", "none", "ES257"])
def test_only_an_algorithm_with_a_key_pair_can_be_chosen(dpop: str) -> None:
    with pytest.raises(ValueError, match="dpop"):
        Provider(name="p", dpop=dpop)


async def test_a_server_that_wants_its_nonce_is_asked_once_more_with_it() -> None:
    """RFC 9449 section 8. The second request is a request of its own: another `jti`, the same refresh token."""
    server, sent = Server(wants_nonce("n-1"), ok()), []  # type: tuple[Server, list[float]]

    answer = await server.call(sent=sent)

    assert answer.token is not None
    assert server.nonces == [None, "n-1"]
    first, second = server.asked
    assert first.content == second.content
    assert proof(first).claims["jti"] != proof(second).claims["jti"]
    assert len(sent) == 2, "the token's life is counted from the second"
    assert answer.request is not None
    assert answer.request.endswith(", sent again: it had asked for its nonce")


async def test_the_nonce_of_any_answer_is_used_for_the_next_request() -> None:
    """RFC 9449 section 8.2, and of each server its own."""
    server = Server(wants_nonce("n-1"), ok("n-2"), ok(), ok("other"), ok())
    elsewhere = bound(token_url="https://auth.example.com:8443/token")
    await server.call()
    await server.call()
    await server.call(elsewhere)
    await server.call(elsewhere)
    assert server.nonces == [None, "n-1", "n-2", None, "other"]


async def test_an_error_with_a_nonce_is_not_sent_again_but_the_nonce_is_kept() -> None:
    refused = httpx.Response(400, json={"error": "invalid_grant"}, headers={"DPoP-Nonce": "n-1"})
    server = Server(refused, ok())
    assert (await server.call()).error == "invalid_grant"
    await server.call()
    assert server.nonces == [None, "n-1"]


@pytest.mark.parametrize(
    ("replies", "sent"),
    [
        ([wants_nonce("n-1"), wants_nonce("n-2"), wants_nonce("n-3")], 2),
        ([wants_nonce(None)], 1),
        ([wants_nonce("two words")], 1),
        ([wants_nonce('with"quote')], 1),
        ([wants_nonce("n" * 1025)], 1),
        ([wants_nonce("n-1", status=500)], 1),
        ([wants_nonce("n-1", status=200)], 1),
    ],
    ids=["asks-again", "none", "no-nonce", "quote", "endless", "server-error", "success"],
)
async def test_no_request_is_sent_a_third_time_nor_again_without_another_nonce(
    replies: list[httpx.Response], sent: int
) -> None:
    server = Server(*replies)
    answer = await server.call()
    assert len(server.asked) == sent
    assert answer.error == "use_dpop_nonce"
    assert judge(answer, ()).verdict is Verdict.RETRY


async def test_a_nonce_that_was_wanted_in_vain_is_there_for_the_next_attempt() -> None:
    server = Server(wants_nonce("n-1"), wants_nonce("n-2"), ok())
    assert judge(await server.call(), ()).reason == "dpop_nonce_required"
    assert (await server.call()).token is not None
    assert server.nonces == [None, "n-1", "n-2"]


async def test_the_same_nonce_again_is_not_tried_again() -> None:
    server = Server(ok("n-1"), wants_nonce("n-1"))
    await server.call()
    await server.call()
    assert server.nonces == [None, "n-1"]


async def test_a_server_may_ask_only_where_proofs_are_sent() -> None:
    """`dpop` is off: nothing is sent twice, whatever the answer says."""
    server = Server(wants_nonce("n-1"))
    answer = await server.call(account())
    assert (len(server.asked), answer.error) == (1, "use_dpop_nonce")


async def test_the_second_request_has_no_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is over when the nonce comes: nothing more is sent, and the first answer stands."""
    loop = asyncio.get_running_loop()
    clock = loop.time

    def late(_: httpx.Request) -> httpx.Response:
        monkeypatch.setattr(loop, "time", lambda: clock() + 3600)
        return wants_nonce("n-1")

    server = Server(late)
    answer = await server.call(time_s=600)
    monkeypatch.undo()
    assert len(server.asked) == 1
    assert (answer.fault, answer.error, answer.spent) == (None, "use_dpop_nonce", False)


async def test_a_second_request_that_breaks_may_have_spent_the_refresh_token() -> None:
    def breaks(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    server = Server(wants_nonce("n-1"), breaks)
    answer = await server.call()
    assert (answer.fault, answer.spent) == (Fault.BROKEN, True)


@pytest.mark.parametrize(("token_type", "said"), [("Bearer", "Bearer"), (None, "is missing")])
async def test_a_token_that_is_not_bound_is_kept_and_said(token_type: str | None, said: str) -> None:
    """RFC 9449 section 5: a `Bearer` beside a proof says that the server did not bind it."""
    server = Server(ok(token_type=token_type))
    with structlog.testing.capture_logs() as logs:
        answer = await server.call()
    assert answer.token is not None
    assert answer.fault_detail == f"not bound to the DPoP key: token_type {said}"
    (line,) = logs
    assert (line["event"], line["account"], line["token_type"]) == ("dpop_not_bound", "acct-1", token_type)


@pytest.mark.parametrize("token_type", ["DPoP", "dpop"])
async def test_a_bound_token_is_nothing_to_tell(token_type: str) -> None:
    server = Server(ok(token_type=token_type))
    with structlog.testing.capture_logs() as logs:
        assert (await server.call()).fault_detail is None
    assert not logs


async def test_no_error_quotes_the_key() -> None:
    words = f"what is {pem()!r} or {pem()} or {json.dumps(pem())}?"
    server = Server(httpx.Response(400, json={"error": "invalid_dpop_proof", "error_description": words}))
    answer = await server.call()
    line = pem().splitlines()[1]
    assert line not in repr(answer)
    assert judge(answer, ()).reason == "invalid_dpop_proof"


def test_the_consent_is_bound_to_the_key_as_well() -> None:
    """RFC 9449 section 10."""
    request = bound(authorize_url="https://auth.example.com/authorize")
    page = consent_url(
        request, Asking.begin("http://127.0.0.1/cb"), check=lambda url, field: (url, field), now=NOW
    )
    assert httpx.URL(page).params["dpop_jkt"] == KEY.thumbprint()


async def test_other_endpoints_are_sent_no_proof() -> None:
    wire = Wire(httpx.Response(200, json={"device_code": "d"}))
    request = bound(
        device_url="https://auth.example.com/device", revocation_url="https://auth.example.com/revoke"
    )
    await wire.call(device_request(request, now=NOW))
    revoking = revocation_request(request, now=NOW)
    assert isinstance(revoking, RefreshRequest)
    await wire.call(revoking)
    assert [request.headers.get("dpop") for request in wire.asked] == [None, None]
