"""A provider that wants JSON instead of a form, and an API key in a header of its own.

callback: json-with-header
token_url: https://api.provider.example/v2/token/refresh
custom_fields: {api_key: ..., tenant: ...}
"""

from __future__ import annotations

import httpx

from worker.callbacks import CallbackInput, CallbackOutput, ErrorResponse, refresh_callback

client = httpx.Client(timeout=10)


@refresh_callback("json-with-header", timeout_s=20)
def refresh(inputs: CallbackInput) -> CallbackOutput:
    response = client.post(
        inputs.access_token_refresh_url,
        headers={"X-Api-Key": inputs.custom_fields["api_key"]},
        json={
            "tenant": inputs.custom_fields["tenant"],
            "clientId": inputs.consumer_id,
            "clientSecret": inputs.consumer_secret,
            "refreshToken": inputs.refresh_token,
        },
    )
    body = response.json()
    if response.is_client_error:
        # This provider's own codes, as RFC 6749 says the same.
        code = {"TOKEN_REVOKED": "invalid_grant", "BAD_CLIENT": "invalid_client"}.get(
            body["code"], body["code"]
        )
        return CallbackOutput(errorResponse=ErrorResponse(error=code, error_description=body.get("message")))
    response.raise_for_status()
    data = body["data"]
    return CallbackOutput(
        access_token=data["accessToken"], refresh_token=data["refreshToken"], expires_in=data["ttlSeconds"]
    )
