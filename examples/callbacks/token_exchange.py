"""A provider without refresh tokens: the access token that still lives is exchanged for a longer-lived one.

Facebook's `fb_exchange_token` works so
(https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived). Nobody can exchange a token
that has ended, so have it refreshed early: session_management `fixed`, with a session timeout well below its life.

    callback: token-exchange
    token_url: https://graph.facebook.com/v23.0/oauth/access_token
    session_management: fixed
    session_timeout_s: 2592000        # 30 days of 60
"""

from __future__ import annotations

import httpx

from worker.callbacks import CallbackInput, CallbackOutput, ErrorResponse, refresh_callback

client = httpx.Client(timeout=10)

#: "The access token is invalid, expired, or the user has logged out or changed the password."
SESSION_OVER = 190


@refresh_callback("token-exchange")
def refresh(inputs: CallbackInput) -> CallbackOutput:
    response = client.get(
        inputs.access_token_refresh_url,
        params={
            "grant_type": "fb_exchange_token",
            "client_id": inputs.consumer_id,
            "client_secret": inputs.consumer_secret,
            "fb_exchange_token": inputs.access_token,
        },
    )
    body = response.json()
    if "error" in body:
        error = body["error"]
        code = "invalid_grant" if error["code"] == SESSION_OVER else f"facebook_{error['code']}"
        return CallbackOutput(errorResponse=ErrorResponse(error=code, error_description=error["message"]))
    return CallbackOutput(
        access_token=body["access_token"], token_type=body["token_type"], expires_in=body.get("expires_in")
    )
