"""A request while it is being put together: its parameters and headers, and what templates are filled from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import Struct, field

from models.answer import Fault
from models.providers.template import TemplateError, parse
from models.refresh_request import RefreshRequest
from models.token import Secret


class ClientCertificate(Struct, frozen=True):
    """A certificate (with its chain) and its private key, PEM."""

    certificate: Secret
    key: Secret


class InvalidRequest(Exception):
    """No request can be made: names the field and what is expected of it, never a value."""

    fault: Fault = Fault.UNBUILDABLE


class HostNotAllowed(InvalidRequest):
    """The provider's credentials do not go to this host."""

    fault = Fault.HOST_NOT_ALLOWED


class RequestDraft(Struct, kw_only=True):
    """One request in the making. `now` is epoch seconds."""

    request: RefreshRequest
    now: float
    headers: dict[str, str]
    url: str = ""
    #: The URL without its query, variables not filled in.
    url_shown: str = ""
    url_is_fixed: bool = False
    params: dict[str, object] = field(default_factory=dict)
    certificate: ClientCertificate | None = None
    _drawn: str = ""

    def lookup(self, name: str) -> str | None:
        """Return a template variable's value: of the account, or of this call."""
        if name == "random":
            self._drawn = self._drawn or str(uuid.uuid4())
            return self._drawn
        if name == "now":
            return str(int(self.now))
        if name == "now:ms":
            return str(int(self.now * 1000))
        if name == "now:iso":
            return datetime.fromtimestamp(int(self.now), UTC).isoformat().replace("+00:00", "Z")
        return self.request.variable(name)

    def text(self, template: str) -> str:
        """Return a template, filled in.

        Raises:
            InvalidRequest: a variable has no value.
        """
        try:
            return parse(template).text(self.lookup)
        except TemplateError as error:
            raise InvalidRequest(str(error)) from None

    def filled(self, value: object) -> object:
        """Return a (nested) parameter value with every template filled in."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self.filled(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.filled(inner) for inner in value]
        return value


def require(secret: Secret | None, field_name: str) -> Secret:
    """Return a credential, or say which one is missing."""
    if not secret:
        raise InvalidRequest(f"{field_name}: the account has none, and this provider needs one")
    return secret
