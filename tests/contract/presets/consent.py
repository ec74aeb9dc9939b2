"""The first grant at each provider whose preset knows where consent is asked for."""

from __future__ import annotations

import httpx

from models.providers import WITH_CONSENT, Provider
from models.providers.template import parse
from models.refresh_request import RefreshRequest
from models.token import Secret
from tests.contract.presets.mismatches import Mismatches
from worker.providers.authorization import Asking, code_request, consent_url, device_request
from worker.providers.request.builder import RequestBuilder

NOW = 1_790_000_000.0
BUILDER = RequestBuilder([])


def asks_for_consent(preset: Provider) -> bool:
    """Return whether `accounts authorize` knows this provider's page of consent."""
    return bool(preset.authorize_url) and preset.grant in WITH_CONSENT


def check_consent(preset: Provider, mismatches: Mismatches) -> None:
    """The page of consent can be asked for, and its code exchanged; so can a device code where there is one."""
    if not asks_for_consent(preset):
        return
    asking = Asking.begin("http://127.0.0.1:8123/callback")
    page = httpx.URL(consent_url(_request(preset), asking, check=BUILDER.check, now=NOW))
    mismatches.expect("scheme of the page of consent", page.scheme, "https")
    mismatches.expect("state of the page of consent", page.params.get("state"), asking.state)
    mismatches.expect("client of the page of consent", page.params.get("client_id"), "client")
    mismatches.require("the page of consent has an empty scope", page.params.get("scope", "x").split())

    wire = BUILDER.build(code_request(_request(preset), asking, "the-code"), now=NOW)
    sent = wire.http.content.decode() + str(wire.http.url)
    mismatches.expect("scheme of the code's exchange", wire.http.url.scheme, "https")
    mismatches.require("the exchange sends no code", "the-code" in sent)
    mismatches.require("the exchange sends no grant type", "authorization_code" in sent)
    if preset.device_url:
        _check_device(preset, mismatches)


def _check_device(preset: Provider, mismatches: Mismatches) -> None:
    wire = BUILDER.build(device_request(_request(preset), now=NOW), now=NOW)
    mismatches.expect("scheme of the device request", wire.http.url.scheme, "https")
    mismatches.require("the device request names no client", "client_id=client" in wire.http.content.decode())


def _request(preset: Provider) -> RefreshRequest:
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
