"""One entry of a catalogue of providers: facts about how a token is renewed, as other people write them down."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A catalogue to run instead of the sample: `{"providers": {name: entry}}`.
PATH_VARIABLE = "REFRESHD_CATALOGUE"
_HERE = Path(__file__).parent
_VARIABLE = re.compile(r"\$\{(connectionConfig|credentials)\.([A-Za-z0-9_.-]+)\}")
_OAUTH2 = frozenset({"OAUTH2", "MCP_OAUTH2", "MCP_OAUTH2_GENERIC"})
#: Names for what a client has anyway.
_CLIENT = {
    "clientId": "client_id",
    "clientSecret": "client_secret",
    "client_id": "client_id",
    "client_secret": "client_secret",
}


@dataclass(frozen=True)
class Entry:
    """A provider's entry. `facts` are what the catalogue leaves to its own code, written down as data."""

    name: str
    data: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def knobs(self) -> frozenset[str]:
        return frozenset(self.data.get("knobs", ()))

    @property
    def needs_code(self) -> bool:
        return bool(self.data.get("code_reasons")) or any(knob.startswith("CODE") for knob in self.knobs)

    @property
    def is_oauth2(self) -> bool:
        """The resource owner's grant, as opposed to the client's own or to a login."""
        return self.mode == "OAUTH2"

    @property
    def mode(self) -> str:
        return str(self.data["auth_mode"])

    @property
    def refreshes(self) -> bool:
        """A refresh token is exchanged."""
        return self.mode in _OAUTH2 and not self.knobs & {"token_source_access", "grant_client_credentials"}

    @property
    def url(self) -> str | None:
        url = self.data.get("refresh_url") or self.data.get("token_url")
        return url if isinstance(url, str) else None

    @property
    def response(self) -> Mapping[str, str]:
        return dict(self.data.get("token_response", {}))

    @property
    def params(self) -> dict[str, Any]:
        """What a renewal sends beside credentials; a code exchange's own grant type is not meant."""
        own = dict(self.data.get("token_params", {}))
        if self.refreshes or self.data.get("refresh_params"):
            if "refresh_params" in self.data:
                return dict(self.data["refresh_params"])
            own.pop("grant_type", None)
            return {"grant_type": "refresh_token", **own}
        return own

    def variables(self) -> list[tuple[str, str]]:
        """The account's own fields in all of it: (namespace, name)."""
        text = json.dumps([self.data.get(key) for key in ("token_url", "refresh_url", "token_params", "refresh_params", "token_headers")])  # fmt: skip
        return list(dict.fromkeys(_VARIABLE.findall(text)))


def translated(text: str) -> str:
    """The catalogue's placeholders as this project's templates."""

    def name(match: re.Match[str]) -> str:
        known = _CLIENT.get(match[2])
        return f"${{account.{known}}}" if known else f"${{custom.{match[2]}}}"

    return _VARIABLE.sub(name, text).replace("${refresh_token}", "${account.refresh_token}")


def load_entries() -> list[Entry]:
    """Read the catalogue that the environment names, else the sample beside this file."""
    path = Path(os.environ.get(PATH_VARIABLE) or _HERE / "sample.json")
    providers = json.loads(path.read_text())["providers"]
    facts = json.loads((_HERE / "facts.json").read_text())["providers"]
    return [Entry(name, data, facts.get(name, {})) for name, data in providers.items()]
