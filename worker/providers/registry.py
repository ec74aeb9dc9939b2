"""The providers of this deployment: built in, and of its own file."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.account import Account
from models.providers import Provider
from models.providers.presets import PresetError, load_providers
from worker.errors import KnobsUnfit, SettingsError

#: Where a refresh of an account of unknown provider starts from.
GENERIC: Final = "generic"


class Providers:
    """Finds the provider of an account."""

    def __init__(self, file: Path | None) -> None:
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

        A name that no data describes is plain OAuth 2.0 at the account's own URL; None where it has none.

        Raises:
            KnobsUnfit: the provider is described otherwise than when they were stored.
        """
        provider = self.known.get(account.provider)
        if provider is None:
            if account.token_url is None and account.callback is None:
                return None
            provider = self.known[GENERIC]
        try:
            return provider.for_account(json.loads(account.knobs))
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
            raise KnobsUnfit(account.id, provider, problems) from None

    def for_schedule(self, account: Account) -> Provider | None:
        """Return what an account's due times go by: its provider, without the account's knobs where they do not fit."""
        try:
            return self.of(account)
        except KnobsUnfit as error:
            return error.provider
