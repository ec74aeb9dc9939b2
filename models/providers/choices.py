"""What a provider's data choose between."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class GrantType(StrEnum):
    """What is exchanged for a new access token."""

    REFRESH_TOKEN = "refresh_token"  # RFC 6749 section 6
    CLIENT_CREDENTIALS = "client_credentials"  # RFC 6749 section 4.4: a new token each time
    JWT_BEARER = "jwt_bearer"  # RFC 7523 section 2.1: service accounts
    ACCESS_TOKEN = "access_token"  # the current access token, such as Meta's fb_exchange_token
    LOGIN = "login"  # whatever `params` say: user name and password, an API key ...
    SELF_SIGNED = "self_signed"  # no call: a JWT that the account's own key signs is the access token


#: Grants that begin with the owner's consent.
WITH_CONSENT: Final = frozenset({GrantType.REFRESH_TOKEN, GrantType.ACCESS_TOKEN})


class ClientAuth(StrEnum):
    """How the client proves who it is (RFC 6749 section 2.3, RFC 7523, RFC 8705)."""

    BODY = "body"  # client_id and client_secret among the parameters: client_secret_post
    BASIC = "basic"  # HTTP Basic of the form-encoded halves, as RFC 6749 section 2.3.1 says
    BASIC_RAW = "basic_raw"  # HTTP Basic of the halves as they are
    NONE = "none"  # a public client: client_id alone
    PRIVATE_KEY_JWT = "private_key_jwt"
    CLIENT_SECRET_JWT = "client_secret_jwt"
    BEARER_JWT = "bearer_jwt"  # the signed JWT itself is the Authorization header, as for GitHub apps
    HEADER = "header"  # the Authorization header is the template `authorization`
    MTLS = "mtls"  # a client certificate (custom fields client_certificate, client_key); client_id alone


class ParamsIn(StrEnum):
    """Where the request's parameters travel."""

    FORM = "form"
    JSON = "json"
    QUERY = "query"


class OldAccessToken(StrEnum):
    """What happens to the previous access token when a refresh succeeds."""

    LIVES = "lives"
    DIES = "dies"
    GRACE = "grace"
