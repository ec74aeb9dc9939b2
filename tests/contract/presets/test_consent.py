"""The first grant at each provider whose preset knows where consent is asked for."""

from __future__ import annotations

import httpx
import pytest

from models.providers import WITH_CONSENT, Provider
from models.providers.presets import load_presets
from models.refresh_request import RefreshRequest
from models.template import parse
from models.token import Secret
from worker.providers.authorization import Asking, code_request, consent_url, device_request
from worker.providers.request import RequestBuilder

NOW = 1_790_000_000.0
BUILDER = RequestBuilder([])
KNOWN = [
    preset for preset in load_presets().values() if preset.authorize_url and preset.grant in WITH_CONSENT
]
each_preset = pytest.mark.parametrize("preset", KNOWN, ids=lambda preset: preset.name)


def request(preset: Provider) -> RefreshRequest:
    texts = [text for _, text in preset.templates()] + [
        str(preset.authorize_url),
        str(preset.device_url or ""),
        *(text for text in preset.authorize_params.values() if text),
    ]
    names = {name.partition(".")[2] for text in texts for group in parse(text).variables() for name in group}
    return RefreshRequest(
        account_id="acct",
        provider=preset,
        client_id="client",
        client_secret=Secret("client-secret"),
        custom_fields={name: Secret(_value(name)) for name in names if name},
    )


def _value(name: str) -> str:
    return "https://tenant.example" if name == "accounts_server" else "tenant.example"


def test_the_much_used_ones_are_known() -> None:
    much_used = {
        "google",
        "microsoft-entra",
        "github",
        "gitlab",
        "salesforce",
        "hubspot",
        "xero",
        "slack",
        "zoom",
    }
    assert much_used <= {preset.name for preset in KNOWN}


@each_preset
def test_its_page_can_be_asked_for_and_its_code_exchanged(preset: Provider) -> None:
    asking = Asking.begin("http://127.0.0.1:8123/callback")
    page = httpx.URL(consent_url(request(preset), asking, check=BUILDER.check, now=NOW))
    assert page.scheme == "https"
    assert page.params["state"] == asking.state
    assert page.params["client_id"] == "client"
    assert page.params.get("scope", "x").split()

    wire = BUILDER.build(code_request(request(preset), asking, "the-code"), now=NOW)
    assert wire.http.url.scheme == "https"
    sent = wire.http.content.decode() + str(wire.http.url)
    assert "the-code" in sent
    assert "authorization_code" in sent


@pytest.mark.parametrize(
    "preset", [preset for preset in KNOWN if preset.device_url], ids=lambda preset: preset.name
)
def test_its_device_code_can_be_asked_for(preset: Provider) -> None:
    wire = BUILDER.build(device_request(request(preset), now=NOW), now=NOW)
    assert wire.http.url.scheme == "https"
    assert "client_id=client" in wire.http.content.decode()
