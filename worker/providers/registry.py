"""The providers of this deployment: built in, and of its own file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from models.providers import ISSUER, Provider
from models.providers.presets import PresetError, load_providers
from worker.errors import KnobsUnfit, SettingsError

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

__all__ = ["GENERIC", "ISSUER", "Providers", "is_unread"]

#: Where a refresh of an account of unknown provider starts from.
GENERIC: Final = "generic"


def is_unread(provider: Provider) -> bool:
    """Return whether a provider is an issuer whose metadata were never read."""
    return provider.name == ISSUER and provider.token_url is None


class Providers:
    """Finds the provider of an account.

    Args:
        file: providers of this deployment's own.
        issuers: gives what an issuer's metadata say, None where they were never read.
    """

    def __init__(self, file: Path | None, issuers: Callable[[str], Provider | None] = lambda _: None) -> None:
        self._issuers = issuers
        try:
            self.known = load_providers(file)
        except PresetError as error:
            raise SettingsError(f"REFRESHD_PROVIDERS_FILE: {error}") from None

    @cached_property
    def some_name_a_rate(self) -> bool:
        """Return whether any provider's data names a rate, so that looking ahead is worth its query."""
        return any(provider.requests_per_s is not None for provider in self.known.values())

    def of(self, account: Account) -> Provider | None:
        """Return an account's provider with the account's own knobs.

        A name that no data describes is plain OAuth 2.0 by that name, at the account's own URL; None where it has none.

        Raises:
            KnobsUnfit: the provider is described otherwise than when they were stored.
        """
        if account.provider == ISSUER:
            return self._of_issuer(account)
        provider = self.known.get(account.provider)
        if provider is None:
            if account.token_url is None and account.callback is None:
                return None
            provider = self.known[GENERIC].overridden({"name": account.provider})
        return _with_knobs(provider, account, json.loads(account.knobs))

    def _of_issuer(self, account: Account) -> Provider:
        """Return what the metadata of an account's issuer say; without endpoints, where they were never read."""
        knobs, issuer = json.loads(account.knobs), issuer_of(account)
        found = self._issuers(issuer) if issuer else None
        if found is None:
            return _with_knobs(self.known[ISSUER], account, knobs)
        # The document's spelling counts where a redirect brings it.
        return _with_knobs(found, account, {name: one for name, one in knobs.items() if name != "issuer"})

    def for_schedule(self, account: Account) -> Provider | None:
        """Return what an account's due times go by: its provider, without the account's knobs where they do not fit."""
        try:
            return self.of(account)
        except KnobsUnfit as error:
            return error.provider


def issuer_of(account: Account) -> str | None:
    """Return the issuer that an account names; None where its provider is another kind."""
    return json.loads(account.knobs).get("issuer") if account.provider == ISSUER else None


def _with_knobs(provider: Provider, account: Account, knobs: Mapping[str, object]) -> Provider:
    try:
        return provider.for_account(knobs)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        raise KnobsUnfit(account.id, provider, problems) from None
