"""`refreshd accounts authorize`, with a provider that is a function."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.accounts.conftest import Refreshd
from worker.cli.accounts import _consent as consent
from worker.providers.client import ProviderClient


def test_a_consent_that_brings_a_refresh_token_alone_is_stored(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device code is spent with it."""

    def answer(request: httpx.Request) -> httpx.Response:
        if b"device_code" in request.content:
            return httpx.Response(200, json={"refresh_token": "marker-refresh"})
        code = {
            "device_code": "d",
            "user_code": "U",
            "verification_uri": "https://id.example/",
            "interval": 1,
        }
        return httpx.Response(200, json={**code, "expires_in": 60})

    client = ProviderClient(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(consent, "provider_client", lambda _: client)

    words = ("new-1", "provider=microsoft-entra", "client_id=ID", "client_auth=none")
    ran = refreshd("accounts", "authorize", *words, "--device", "--no-browser")

    assert ran.exit_code == 0, ran.stderr
    assert "marker" not in ran.stdout + ran.stderr
    shown = refreshd("accounts", "show", "new-1", "--json").json
    assert shown["due_reason"] == "no_access_token_yet", shown
