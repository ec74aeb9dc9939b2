"""Client authentication: who is asking (RFC 6749 section 2.3, RFC 7523 section 2.2)."""

from __future__ import annotations

import base64
from urllib.parse import quote_plus

from models.providers import ClientAuth
from models.providers.assertion import CLIENT_ASSERTION_TYPE, SigningAlgorithm
from worker.providers.request.assertions import sign
from worker.providers.request.draft import ClientCertificate, InvalidRequest, RequestDraft, require


def authenticate(draft: RequestDraft, method: ClientAuth) -> None:
    """Write what proves the client into the draft's parameters or headers.

    Raises:
        InvalidRequest: a credential that this method needs is missing.
    """
    request, params = draft.request, draft.params
    if method is ClientAuth.BASIC or method is ClientAuth.BASIC_RAW:
        draft.headers["authorization"] = _basic(draft, form_encoded=method is ClientAuth.BASIC)
        return
    if method is ClientAuth.HEADER:
        if request.provider.authorization is None:
            raise InvalidRequest("client_auth: `header` needs the provider's `authorization` template")
        draft.headers["authorization"] = draft.text(request.provider.authorization)
        return
    if method is ClientAuth.BEARER_JWT:
        token = sign(draft, request.provider.client_assertion, SigningAlgorithm.RS256)
        draft.headers["authorization"] = f"Bearer {token}"
        return
    if method is ClientAuth.MTLS:
        draft.certificate = ClientCertificate(
            require(request.custom_fields.get("client_certificate"), "custom_fields.client_certificate"),
            require(request.custom_fields.get("client_key"), "custom_fields.client_key"),
        )
    if request.client_id:
        params["client_id"] = request.client_id
    if method is ClientAuth.BODY and request.client_secret:
        params["client_secret"] = request.client_secret.reveal()
    elif method is ClientAuth.PRIVATE_KEY_JWT or method is ClientAuth.CLIENT_SECRET_JWT:
        symmetric = method is ClientAuth.CLIENT_SECRET_JWT
        default = SigningAlgorithm.HS256 if symmetric else SigningAlgorithm.RS256
        params["client_assertion_type"] = CLIENT_ASSERTION_TYPE
        params["client_assertion"] = sign(draft, request.provider.client_assertion, default)


def _basic(draft: RequestDraft, *, form_encoded: bool) -> str:
    """Return HTTP Basic's value; RFC 6749 section 2.3.1 form-encodes both halves first, and many providers do not."""
    request = draft.request
    if not request.client_id:
        raise InvalidRequest("client_id: the account has none, and HTTP Basic needs one")
    secret = request.client_secret.reveal() if request.client_secret else ""
    if form_encoded:
        pair = f"{quote_plus(request.client_id)}:{quote_plus(secret)}"
    else:
        pair = f"{request.client_id}:{secret}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
