"""Signed JWTs: what proves the client, what is the grant, and what is the token itself."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from models.answer import Fault
from tests.support.providers.provider_double import NOW, Wire, account, form, provider

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def verified(token: str, algorithm: str) -> jwt.Token:
    """Read a JWT as the provider would: its signature must fit."""
    key: RSAKey | ECKey | OctKey
    if algorithm.startswith("HS"):
        key = OctKey.import_key("a-shared-secret-of-32-letters-xx")
    elif algorithm.startswith("ES"):
        key = ECKey.import_key(public_pem(EC))
    else:
        key = RSAKey.import_key(public_pem(RSA))
    return jwt.decode(token, key, algorithms=[algorithm])


async def test_private_key_jwt() -> None:
    """RFC 7523 section 3: issuer and subject are the client, the audience is where it goes, and it is used once."""
    wire = Wire()
    await wire.call(account(provider(client_auth="private_key_jwt"), custom={"private_key": pem(RSA)}))
    await wire.call(account(provider(client_auth="private_key_jwt"), custom={"private_key": pem(RSA)}))

    sent, again = (form(request) for request in wire.asked)
    assert sent["client_assertion_type"] == JWT_BEARER
    assert sent["client_id"] == "client-1"
    assert "client_secret" not in sent
    token = verified(sent["client_assertion"], "RS256")
    assert token.header == {"typ": "JWT", "alg": "RS256"}
    claims = token.claims
    assert claims == {
        "iss": "client-1",
        "sub": "client-1",
        "aud": "https://auth.example.com/token",
        "iat": NOW,
        "exp": NOW + 300,
        "jti": claims["jti"],
    }
    assert verified(again["client_assertion"], "RS256").claims["jti"] != claims["jti"]


async def test_client_secret_jwt_signs_with_the_secret() -> None:
    wire = Wire()
    secret = "a-shared-secret-of-32-letters-xx"
    await wire.call(account(provider(client_auth="client_secret_jwt"), client_secret=secret))
    sent = form(wire.request)
    assert verified(sent["client_assertion"], "HS256").claims["iss"] == "client-1"
    assert secret not in str(sent)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", pem(RSA)), ("PS256", pem(RSA)), ("ES256", pem(EC)),
     ("RS256", pem(RSA).replace("\n", "\\n")), ("ES256", json.dumps(ECKey.import_key(pem(EC)).as_dict(private=True)))],
)  # fmt: skip
async def test_algorithms_and_keys(algorithm: str, key: str) -> None:
    """PEM, PEM on one line as environment files hold it, and JWK."""
    wire = Wire()
    of = provider(client_auth="private_key_jwt", client_assertion={"algorithm": algorithm})
    await wire.call(account(of, custom={"private_key": key}))
    assert verified(form(wire.request)["client_assertion"], algorithm).claims["sub"] == "client-1"


async def test_what_an_assertion_holds_is_data() -> None:
    wire = Wire()
    assertion = {
        "key": "${custom.signing_key}",
        "issuer": "${custom.email}",
        "subject": None,
        "audience": "https://aud.example.com",
        "lifetime_s": 60,
        "unique_id": False,
        "claims": {"scope": "${account.scope}", "admin": True},
        "header": {"kid": "${custom.kid}"},
    }
    of = provider(
        grant="jwt_bearer", client_auth="none", grant_assertion=assertion, params={"client_id": None}
    )
    custom = {"signing_key": pem(RSA), "email": "svc@example.com", "kid": "k1"}
    await wire.call(account(of, refresh_token=None, scope="a b", custom=custom))

    sent = form(wire.request)
    assert sent.keys() == {"grant_type", "assertion"}
    assert sent["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    token = verified(sent["assertion"], "RS256")
    assert token.header["kid"] == "k1"
    assert token.claims == {
        "iss": "svc@example.com",
        "aud": "https://aud.example.com",
        "iat": NOW,
        "exp": NOW + 60,
        "scope": "a b",
        "admin": True,
    }


async def test_the_jwt_can_be_the_authorization_header() -> None:
    """GitHub: an app's own JWT asks for an installation token; its answer is `token` and an ISO date."""
    wire = Wire()
    github = provider(
        token_url="https://api.github.com/app/installations/${account.installation_id}/access_tokens",
        grant="login",
        client_auth="bearer_jwt",
        params_in="json",
        client_assertion={"issuer": "${account.client_id}", "subject": None, "lifetime_s": 540},
    )
    await wire.call(account(github, custom={"installation_id": "77", "private_key": pem(RSA)}))
    scheme, _, token = wire.request.headers["authorization"].partition(" ")
    assert scheme == "Bearer"
    assert verified(token, "RS256").claims["exp"] == NOW + 540
    assert wire.request.url.path == "/app/installations/77/access_tokens"


async def test_a_token_can_be_signed_here_and_nothing_is_sent() -> None:
    wire = Wire()
    of = provider(
        token_url=None,
        grant="self_signed",
        client_auth="none",
        grant_assertion={"algorithm": "HS256", "key": "${account.client_secret}", "lifetime_s": 300},
    )
    answer = await wire.call(account(of, client_secret="a-shared-secret-of-32-letters-xx"))
    assert wire.asked == []
    assert answer.token is not None
    assert answer.token.expires_in_s == 300
    claims = verified(answer.token.access_token.reveal(), "HS256").claims
    assert (claims["iss"], claims["exp"], "aud" in claims) == ("client-1", NOW + 300, False)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", "nonsense"), ("RS256", pem(EC)), ("ES256", pem(RSA)), ("RS256", public_pem(RSA)), ("ES256", "{}"), ("ES384", pem(EC)), ("RS256", "{")],
)  # fmt: skip
async def test_a_key_that_does_not_fit_is_named_and_not_shown(algorithm: str, key: str) -> None:
    wire = Wire()
    of = provider(client_auth="private_key_jwt", client_assertion={"algorithm": algorithm})
    answer = await wire.call(account(of, custom={"private_key": key}))
    assert answer.fault is Fault.UNBUILDABLE
    assert (answer.fault_detail or "").startswith("assertion")
    assert key not in (answer.fault_detail or "")
    assert wire.asked == []


#: An elliptic curve that JWK has no name for, and one that cryptography does not support (made by `openssl ecparam`).
BRAINPOOL = pem(ec.generate_private_key(ec.BrainpoolP256R1()))
SECP112R1 = (
    "-----BEGIN EC PRIVATE KEY-----\nMD4CAQEEDmevh72AY2DQxl9sW6B3oAcGBSuBBAAGoSADHgAEA83Y1OFQJZWmJ7ey\n"
    "oN0vzRxihksvfl6h/izPwg==\n-----END EC PRIVATE KEY-----\n"
)


@pytest.mark.parametrize("key", [BRAINPOOL, SECP112R1])
async def test_a_key_on_an_unusual_curve_is_an_answer_and_no_error_of_ours(key: str) -> None:
    wire = Wire()
    of = provider(client_auth="private_key_jwt", client_assertion={"algorithm": "ES256"})
    answer = await wire.call(account(of, custom={"private_key": key}))
    assert answer.fault is Fault.UNBUILDABLE
    assert "ES256" in str(answer.fault_detail)
    assert wire.asked == []
