"""What a callback is given: the account's credentials, resolved and opened."""

from __future__ import annotations

from models.callback import CallbackInput
from models.providers.template import parse
from models.refresh_request import RefreshRequest
from worker.providers.request.draft import RequestDraft


def inputs_of(request: RefreshRequest, *, now: float) -> CallbackInput:
    """Resolve what a callback is given.

    Raises:
        TemplateError: the token URL names a variable that has no value.
    """
    template = parse(request.token_url) if request.token_url else request.provider.endpoint
    url = "" if template is None else template.url(RequestDraft(request=request, now=now, headers={}).lookup)
    secrets = (request.access_token, request.client_secret, request.refresh_token)
    access_token, consumer_secret, refresh_token = (one.reveal() if one else "" for one in secrets)
    return CallbackInput(
        account_id=request.account_id,
        access_token=access_token,
        consumer_id=request.client_id or "",
        consumer_secret=consumer_secret,
        refresh_token=refresh_token,
        access_token_refresh_url=url,
        custom_fields={name: value.reveal() for name, value in request.custom_fields.items()},
    )


def masked(inputs: CallbackInput) -> str:
    """Show the inputs of a run without their secrets."""
    secrets = {
        name: f"{len(value):,} characters" if value else "none"
        for name, value in inputs
        if name in {"access_token", "consumer_secret", "refresh_token"}
    }
    plain = {
        "consumer_id": inputs.consumer_id or "none",
        "access_token_refresh_url": inputs.access_token_refresh_url.partition("?")[0] or "none",
        "custom_fields": ", ".join(inputs.custom_fields) or "none",
    }
    return "; ".join(f"{name} {value}" for name, value in {**secrets, **plain}.items())
