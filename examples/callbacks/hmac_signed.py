"""A provider that wants each request signed: HMAC-SHA256 over method, path, time and body.

callback: hmac-signed
token_url: https://open.provider.example/auth/token/refresh
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import httpx

from worker.callbacks import CallbackInput, CallbackOutput, ErrorResponse, refresh_callback

client = httpx.Client(timeout=10)


@refresh_callback("hmac-signed")
def refresh(inputs: CallbackInput) -> CallbackOutput:
    url = httpx.URL(inputs.access_token_refresh_url)
    body = json.dumps({"partner_id": inputs.consumer_id, "refresh_token": inputs.refresh_token})
    timestamp = str(int(time.time()))  # noqa: TID251  (the provider's clock is the wall clock)
    response = client.post(
        url,
        content=body,
        headers={
            "content-type": "application/json",
            "x-timestamp": timestamp,
            "x-signature": sign(inputs.consumer_secret, "POST", url.path, timestamp, body),
        },
    )
    answer = response.json()
    if answer["error"]:
        code = {"error_auth": "invalid_grant", "error_sign": "invalid_client"}.get(
            answer["error"], answer["error"]
        )
        return CallbackOutput(errorResponse=ErrorResponse(error=code, error_description=answer["message"]))
    return CallbackOutput(
        access_token=answer["access_token"],
        refresh_token=answer["refresh_token"],
        expires_in=answer["expire_in"],
    )


def sign(secret: str, *parts: str) -> str:
    """Return the signature of a request, hexadecimal."""
    return hmac.new(secret.encode(), "\n".join(parts).encode(), hashlib.sha256).hexdigest()
