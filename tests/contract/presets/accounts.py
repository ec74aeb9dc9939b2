"""An account of each provider, with awkward letters in its id and secret, and a key for those that sign."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from models.providers import Provider
from models.refresh_request import RefreshRequest
from tests.contract.presets.facts import Facts
from tests.support.providers.certificates import Authority
from tests.support.providers.provider_double import account

CLIENT_ID = "client 1"
CLIENT_SECRET = "s3cr+t/=&"


@cache
def keys() -> dict[str, str]:
    """PEM texts: a key of each kind, and a client certificate."""
    signed = Authority().sign("client.example.com")
    return {
        "RSA": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "EC": _pem(ec.generate_private_key(ec.SECP256R1())),
        "certificate": signed.certificate,
        "certificate_key": signed.key,
    }


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def account_at(preset: Provider, facts: Facts, fields: Mapping[str, str] | None = None) -> RefreshRequest:
    """An account with the fields that the facts name, or with these instead, and nothing that they do not name."""
    custom = dict(facts.fields if fields is None else fields)
    server_url = custom.pop("server_url", None)
    algorithm = {**facts.assertion, **facts.grant_assertion, **facts.bearer}.get("alg")
    if algorithm is not None:
        custom["private_key"] = keys()["EC" if algorithm.startswith("ES") else "RSA"]
    if facts.auth == "mtls":
        custom |= {"client_certificate": keys()["certificate"], "client_key": keys()["certificate_key"]}
    if preset.dpop is not None:
        custom["dpop_key"] = keys()["EC"]
    return account(
        preset,
        token_url=facts.url if preset.endpoint is None else None,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        server_url=server_url,
        scope=facts.scope,
        custom=custom,
    )
