"""A Google service account: a JWT that the account's own key signs, exchanged for an access token (RFC 7523).

https://developers.google.com/identity/protocols/oauth2/service-account#httprest. refreshd does the same without any
code (provider `google-service-account`); as a callback it shows how to sign.

    callback: google-service-account
    token_url: https://oauth2.googleapis.com/token
    custom_fields: {client_email: ..., private_key: "-----BEGIN PRIVATE KEY-----...", scope: ..., subject: ...}
"""

from __future__ import annotations

import time

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey

from worker.callbacks import CallbackInput, CallbackOutput, ErrorResponse, refresh_callback

client = httpx.Client(timeout=10)

#: Google takes no assertion that lives longer.
LIFETIME_S = 3600


@refresh_callback("google-service-account")
def refresh(inputs: CallbackInput) -> CallbackOutput:
    response = client.post(
        inputs.access_token_refresh_url,
        data={"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion(inputs)},
    )
    body = response.json()
    if "error" in body:
        return CallbackOutput(errorResponse=ErrorResponse.model_validate(body))
    response.raise_for_status()
    return CallbackOutput(access_token=body["access_token"], expires_in=body["expires_in"])


def assertion(inputs: CallbackInput) -> str:
    """Sign who asks, for what, and for how long."""
    fields = inputs.custom_fields
    now = int(time.time())  # noqa: TID251  (Google's clock is the wall clock)
    claims = {
        "iss": fields["client_email"],
        "scope": fields["scope"],
        "aud": inputs.access_token_refresh_url,
        "iat": now,
        "exp": now + LIFETIME_S,
    }
    if subject := fields.get("subject"):  # domain-wide delegation: act for this user
        claims["sub"] = subject
    # Keys are often stored on one line.
    key = RSAKey.import_key(fields["private_key"].replace("\\n", "\n"))
    return jwt.encode({"alg": "RS256"}, claims, key, algorithms=["RS256"])
