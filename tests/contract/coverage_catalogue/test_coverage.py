"""How many providers of a catalogue are served by data alone: each one's request and answer, as it wants them.

`REFRESHD_CATALOGUE=FILE pytest tests/contract/coverage_catalogue` runs another catalogue than the sample.
"""

from __future__ import annotations

import asyncio
from functools import cache

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from models.provider_requirements import check
from models.providers import GrantType, Provider
from models.refresh_request import RefreshRequest
from models.token import Secret
from tests.contract.coverage_catalogue.entry import Entry, load_entries
from tests.contract.coverage_catalogue.loader import provider_of
from tests.contract.coverage_catalogue.scripted import LIFETIME_S, ScriptedProvider
from tests.support.providers.certificates import Authority
from worker.policy.verdicts.verdict import judge
from worker.providers.client import ProviderClient

ENTRIES = load_entries()
SERVED_BY_DATA = [entry for entry in ENTRIES if not entry.needs_code]
#: Of all entries, those that need code included.
GOAL = 0.95
NOW = 1_800_000_000.0


@cache
def keys() -> dict[str, str]:
    signed = Authority().sign("client.example.com")
    return {
        "RSA": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "ES256": _pem(ec.generate_private_key(ec.SECP256R1())),
        "certificate": signed.certificate,
        "certificate_key": signed.key,
    }


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def account_of(entry: Entry, *, only_what_the_last_url_needs: bool = False) -> dict[str, str]:
    """An account with everything that the entry's placeholders ask for, awkward letters where they may be."""
    url = entry.url or ""
    values = {
        "client_id": "client 1",
        "client_secret": "s3cr+t/=&-of-more-than-32-letters",
        "access_token": "AT-old",
        "refresh_token": "RT/old+=",
        "server_url": "https://mcp.example.com/sse",
        "token_url": "https://as.example.com/token",
        "scope": "a b",
        **entry.facts.get("custom", {}),
    }
    for space, name in entry.variables():
        if url.split(" || ")[-1].startswith(f"${{{space}.{name}}}") or f"|| ${{{space}.{name}}}" in url:
            values.setdefault(name, "https://accounts.example.eu")
        elif space == "credentials" and name not in url:
            values.setdefault(name, f"{name} +/=&:?#")
        else:
            values.setdefault(name, f"{name.lower().replace('_', '-')}-1")
    if only_what_the_last_url_needs:
        *others, last = url.split(" || ")
        for space, name in entry.variables():
            if any(f"{space}.{name}}}" in other for other in others) and f"{space}.{name}}}" not in last:
                del values[name]
    return values


def request_of(entry: Entry, provider: Provider, values: dict[str, str]) -> RefreshRequest:
    named = {name for _, name in entry.variables()} | set(entry.facts.get("custom", {}))
    custom = {name: value for name, value in values.items() if name in named}
    algorithm = entry.data.get("assertion", {}).get("alg", "RS256")
    custom |= {
        "private_key": keys()["ES256" if algorithm.startswith("ES") else "RSA"],
        "client_certificate": keys()["certificate"],
        "client_key": keys()["certificate_key"],
    }
    return RefreshRequest(
        account_id="a",
        provider=provider,
        client_id=values["client_id"],
        client_secret=Secret(values["client_secret"]),
        access_token=Secret(values["access_token"]),
        refresh_token=Secret(values["refresh_token"]),
        server_url=values["server_url"],
        token_url=None if provider.token_url else values["token_url"],
        scope=values["scope"],
        custom_fields={name: Secret(value) for name, value in custom.items()},
    )


async def renew(entry: Entry, *, only_what_the_last_url_needs: bool = False) -> None:
    """Renew once, and look at both sides of it."""
    provider = provider_of(entry)
    values = account_of(entry, only_what_the_last_url_needs=only_what_the_last_url_needs)
    server = ScriptedProvider(entry, values)
    request = request_of(entry, provider, values)
    assert check(provider, request) == []

    client = ProviderClient(transport=httpx.MockTransport(server.handle), now=lambda: NOW)
    answer = await client.call(request, deadline=asyncio.get_running_loop().time() + 5)

    assert server.problems == []
    assert judge(answer, provider.error_rules).reason == "refreshed", answer
    token = answer.token
    assert token is not None
    if provider.grant is GrantType.SELF_SIGNED:
        assert server.asked == 0
        return
    assert server.asked == 1
    assert token.access_token.reveal() == "AT-new"
    assert (token.refresh_token is not None) == entry.refreshes
    if entry.refreshes:
        assert token.refresh_token is not None
        assert token.refresh_token.reveal() == "RT-new"
    said = server.lifetime()
    if said is None:
        assert (token.expires_in_s, token.expires_at) == (None, None)
        assert provider.default_lifetime_s or provider.never_expires or "default_ttl" in entry.knobs
    elif said[1] == LIFETIME_S:
        assert token.expires_in_s == LIFETIME_S
    else:
        assert token.expires_at == NOW + 3600
    published = entry.data.get("response_metadata", [])
    assert token.extra == {name: f"value of {name}" for name in published}


@pytest.mark.parametrize("entry", SERVED_BY_DATA, ids=lambda entry: entry.name)
async def test_it_is_renewed_by_data_alone(entry: Entry) -> None:
    await renew(entry)
    if " || " in (entry.url or ""):
        await renew(entry, only_what_the_last_url_needs=True)


def test_coverage(capsys: pytest.CaptureFixture[str]) -> None:
    """Every OAuth 2.0 provider that needs no code, and 95 % of all."""
    failed = {entry.name for entry in SERVED_BY_DATA if not asyncio.run(_is_renewed(entry))}
    oauth2 = [entry for entry in SERVED_BY_DATA if entry.is_oauth2]
    served = len(SERVED_BY_DATA) - len(failed)
    with capsys.disabled():
        print(
            f"\nprovider coverage: {served} of {len(ENTRIES)} ({served / len(ENTRIES):.1%}) by data alone, "
            f"{len([entry for entry in oauth2 if entry.name not in failed])} of {len(oauth2)} OAuth 2.0 providers "
            f"that need no code; failed: {sorted(failed) or 'none'}"
        )
    assert not [entry.name for entry in oauth2 if entry.name in failed]
    assert served / len(ENTRIES) >= GOAL


async def _is_renewed(entry: Entry) -> bool:
    try:
        await test_it_is_renewed_by_data_alone(entry)
    except Exception:  # noqa: BLE001 -- whatever it is, this provider is not served
        return False
    return True
