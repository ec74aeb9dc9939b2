"""A provider that is no OAuth at all: log in with a user and a password, then ask the session for an API token.

callback: two-step-login
token_url: https://erp.provider.example
custom_fields: {user: ..., password: ..., company: ...}
"""

from __future__ import annotations

import logging

import httpx

from worker.callbacks import CallbackInput, CallbackOutput, ErrorResponse, refresh_callback

log = logging.getLogger(__name__)


@refresh_callback("two-step-login", timeout_s=25)
async def refresh(inputs: CallbackInput) -> CallbackOutput:
    fields = inputs.custom_fields
    # A client of its own: the session's cookie must not outlive the run.
    async with httpx.AsyncClient(base_url=inputs.access_token_refresh_url, timeout=10) as client:
        login = await client.post("/login", data={"user": fields["user"], "password": fields["password"]})
        if login.status_code == httpx.codes.UNAUTHORIZED:
            refused = ErrorResponse(error="invalid_grant", error_description="user or password is wrong")
            return CallbackOutput(errorResponse=refused)
        login.raise_for_status()
        log.info("logged in as %s", fields["user"])  # in the account's history; secrets are masked there

        token = await client.post("/api/token", json={"company": fields["company"]})
        token.raise_for_status()
        body = token.json()
    return CallbackOutput(access_token=body["token"], token_type="Session", expires_in=body["minutes"] * 60)
