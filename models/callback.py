"""The contract of a refresh callback: what it is given and what it gives back.

Names are those of webMethods' refresh services, to the letter, so that a FlowService can be carried over field
by field. The inputs are the same for a Python function, an HTTP endpoint and a Celery task; so are the outputs.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

#: Names of callbacks.
CALLBACK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class CallbackInput(BaseModel):
    """One account's credentials, resolved and opened. What the account does not have is an empty text."""

    model_config = ConfigDict(frozen=True)

    account_id: str = ""
    """The account's id: for log lines, and for what the callback keeps per account."""
    access_token: str = Field("", repr=False)
    """The stored access token; it may have ended. Source: the last refresh, or the import."""
    consumer_id: str = ""
    """The client's id (RFC 6749 section 2.2). Source: the account's `client_id`."""
    consumer_secret: str = Field("", repr=False)
    """The client's secret (RFC 6749 section 2.3.1). Source: the account's `client_secret`."""
    refresh_token: str = Field("", repr=False)
    """The stored refresh token (RFC 6749 section 1.5). Source: the last refresh that returned one, or the import."""
    access_token_refresh_url: str = ""
    """Where to refresh. Source: the account's `token_url`, else its provider's, variables filled in."""
    custom_fields: dict[str, str] = Field(default_factory=dict, repr=False)
    """The account's custom fields, name -> value. Any of them may be a secret."""


def _as_it_is(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Accept any value: the reader of the output reports what it ignored, and why.

    A callback that ends in a ValidationError has thrown away the only copy of a rotated refresh token.
    """
    try:
        return check(value)
    except ValidationError:
        return value


_TOLERANT: Final = WrapValidator(_as_it_is)


class ErrorResponse(BaseModel):
    """The provider refused (RFC 6749 section 5.2). It wins over a token beside it."""

    model_config = ConfigDict(extra="allow")

    error: Annotated[str | None, _TOLERANT] = None
    """A code such as `invalid_grant`; what it means for the account, docs/verdicts.md says."""
    error_description: Annotated[str | None, _TOLERANT] = None
    """The refusal in words, for the account's history."""
    error_uri: Annotated[str | None, _TOLERANT] = None
    """A page about the refusal."""


class CallbackOutput(BaseModel):
    """What a callback returns (a dict of the same names is as good). Making one never raises.

    Tokens are stored and are the inputs of the next refresh. What is of a wrong type or of an unknown name is left
    out when the output is read, and the account's history says so: a usable token is never thrown away for it.
    """

    model_config = ConfigDict(extra="allow")

    access_token: Annotated[str | None, _TOLERANT] = Field(None, repr=False)
    """The new access token. Without it, and without an `errorResponse`, the run has failed."""
    token_type: Annotated[str | None, _TOLERANT] = None
    """How the token is used; the stored one (`Bearer` at first) stays where there is none."""
    expires_in: Annotated[int | float | str | None, _TOLERANT] = None
    """The token's life in seconds, as a number or as numeric text. None: unknown."""
    refresh_token: Annotated[str | None, _TOLERANT] = Field(None, repr=False)
    """The new refresh token. None or empty: the stored one stays."""
    scope: Annotated[str | None, _TOLERANT] = None
    """What was granted, separated by spaces. None: as before."""
    errorResponse: Annotated[ErrorResponse | None, _TOLERANT] = None  # noqa: N815  (webMethods' name)
    """Why there is no token. With an `error` in it, it wins over a token beside it."""


#: The names that an output may hold.
OUTPUT_FIELDS: Final = tuple(CallbackOutput.model_fields)
ERROR_FIELDS: Final = tuple(ErrorResponse.model_fields)
