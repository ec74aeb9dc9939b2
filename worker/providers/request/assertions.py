"""Signed JWTs: client assertions and JWT bearer grants (RFC 7523)."""

from __future__ import annotations

import uuid

from models.providers.assertion import Assertion, SigningAlgorithm
from models.token import Secret
from worker.providers.request.draft import InvalidRequest, RequestDraft


def sign(draft: RequestDraft, assertion: Assertion, default: SigningAlgorithm) -> str:
    """Return the JWT that `assertion` describes, issued now.

    Raises:
        InvalidRequest: a variable has no value, or the key does not fit the algorithm.
    """
    from worker.providers.request.jose import UNFIT_KEY, encode, signing_key

    algorithm = assertion.algorithm or default
    key = signing_key(Secret(draft.text(assertion.key_for(algorithm))), algorithm, "assertion key")
    header = {"alg": algorithm.value, **{name: draft.text(text) for name, text in assertion.header.items()}}
    try:
        return encode(header, _claims(draft, assertion), key, algorithm)
    except UNFIT_KEY as error:
        raise InvalidRequest(f"assertion: {type(error).__name__} while signing with {algorithm}") from None


def _claims(draft: RequestDraft, assertion: Assertion) -> dict[str, object]:
    now = int(draft.now)
    claims: dict[str, object] = {"iat": now, "exp": now + int(assertion.lifetime_s)}
    audience = draft.text(assertion.audience) if assertion.audience else draft.url
    if audience:
        claims["aud"] = audience
    if assertion.issuer is not None:
        claims["iss"] = draft.text(assertion.issuer)
    if assertion.subject is not None:
        claims["sub"] = draft.text(assertion.subject)
    if assertion.unique_id:
        claims["jti"] = str(uuid.uuid4())
    claims.update({name: draft.filled(value) for name, value in assertion.claims.items()})
    return claims
