"""The facts that presets are held against: what a provider wants, how it answers, and what its failures mean."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from models.answer import Verdict
from models.providers import OldAccessToken

_FOLDER: Final = Path(__file__).parent / "facts_of_providers"
#: A later one has what is known better.
_TABLES: Final = ("catalogue.yaml", "well_known.yaml", "servers.yaml")
#: What an alias of a provider does not take over from it.
_ITS_OWN: Final = ("url", "with", "or", "like")


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Failure(_Facts):
    """An answer that a provider documents, and what it means."""

    status: int
    verdict: Verdict
    body: dict[str, Any] | None = None
    headers: dict[str, str] = {}


class Elsewhere(_Facts):
    """Another account of the same provider: it has other custom fields, so its requests go somewhere else."""

    url: str
    fields: dict[str, str] = Field(default={}, alias="with")


class Facts(_Facts):
    """One provider; the words are explained on top of `facts_of_providers/catalogue.yaml`."""

    like: str | None = None
    url: str
    fields: dict[str, str] = Field(default={}, alias="with")
    elsewhere: tuple[Elsewhere, ...] = Field(default=(), alias="or")
    scope: str | None = None

    method: Literal["POST", "GET"] = "POST"
    auth: Literal["body", "basic", "basic_raw", "id", "private_key_jwt", "mtls", "nobody"] = "body"
    authorization: str | None = None
    where: Literal["form", "json", "query"] = Field(default="form", alias="in")
    sends: dict[str, Any] = {"grant_type": "refresh_token", "refresh_token": "RT-1"}
    headers: dict[str, str] = {}
    #: What the signed JWT of the client, of the grant, or in the Authorization header says.
    assertion: dict[str, str] = {}
    grant_assertion: dict[str, str] = {}
    bearer: dict[str, str] = {}
    bearer_at_most_s: float = 0
    #: The client's id stands beside its assertion (RFC 7521 section 4.2 leaves it open).
    assertion_id: bool = False

    status: int = 200
    answers: dict[str, Any] = {
        "access_token": "AT-2",
        "refresh_token": "RT-2",
        "token_type": "Bearer",
        "expires_in": 3600,
    }
    publishes: tuple[str, ...] = ()
    lifetime_s: float | None = 3600
    refresh_ends_s: float | None = None
    fails: tuple[Failure, ...] = ()

    lives_s: float | None = None
    margin_s: float | None = None
    window_s: float | None = None
    rotates: bool | None = None
    grace_s: float | None = None
    until_used: bool = False
    old: OldAccessToken = OldAccessToken.LIVES
    idle_s: float | None = None
    hard_s: float | None = None


@cache
def known() -> dict[str, Facts]:
    """Return the facts of each provider by its name."""
    tables = [yaml.load((_FOLDER / name).read_text(), yaml.CSafeLoader) for name in _TABLES]
    names = sorted({name for table in tables for name in table})
    raw = {
        name: {fact: value for table in tables for fact, value in table.get(name, {}).items()}
        for name in names
    }
    return {name: Facts.model_validate(_whole(name, raw)) for name in names}


def _whole(name: str, raw: dict[str, dict[str, Any]]) -> dict[str, Any]:
    own = raw[name]
    if "like" not in own:
        return own
    other = _whole(own["like"], raw)
    return {**{fact: value for fact, value in other.items() if fact not in _ITS_OWN}, **own}
