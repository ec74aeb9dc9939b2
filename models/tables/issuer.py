"""What an authorization server's issuer publishes about itself, as it was read last: shared by all its accounts."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Float, Text
from sqlmodel import Field, SQLModel


class IssuerMetadata(SQLModel, table=True):
    """One row of `issuer_metadata`. Times are epoch seconds (UTC) of the database's clock."""

    __tablename__ = "issuer_metadata"

    #: The issuer as accounts and clients write it, without the slash that is a URL's whole path.
    issuer: str = Field(primary_key=True, max_length=2048)
    #: JSON object: the fields of RFC 8414 that are used; None: it was never read with success.
    document: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    #: When the document was read.
    read_at: float | None = Field(default=None, sa_type=Float)
    #: When it was asked for last, with success or without.
    asked_at: float = Field(default=0.0, sa_type=Float)
    #: Why the last reading failed, and in words; None: it did not.
    failure: str | None = None
    detail: str | None = Field(default=None, sa_column=Column(Text, nullable=True))


class ClientRegistration(SQLModel, table=True):
    """One row of `client_registration`: how a client was registered (RFC 7591), and how its registration is kept (RFC 7592)."""

    __tablename__ = "client_registration"

    #: The client's name.
    client: str = Field(primary_key=True, max_length=128)
    issuer: str = Field(max_length=2048)
    #: The redirect URI that was registered, and is therefore sent.
    redirect_uri: str = Field(sa_type=Text)
    #: RFC 7592 section 3; None: the server lets no registration be read or renewed.
    registration_client_uri: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    registration_access_token_sealed: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    registered_at: float = Field(default=0.0, sa_type=Float)

    @property
    def is_managed(self) -> bool:
        """Return whether the server lets it be read and renewed."""
        return self.registration_client_uri is not None and self.registration_access_token_sealed is not None


#: The field under which a registration access token is sealed, beside the client's name.
REGISTRATION: Final = "registration"
