"""Each preset against the facts: one case a provider, which lists every mismatch."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from models.providers import Provider
from models.providers.presets import load_presets
from tests.contract.presets.answers import (
    check_documented_lifetime,
    check_failures,
    check_success,
    check_token_lives,
)
from tests.contract.presets.consent import asks_for_consent, check_consent
from tests.contract.presets.entries import check_entry, check_needs
from tests.contract.presets.facts import Facts, known
from tests.contract.presets.mismatches import Mismatches
from tests.contract.presets.sent import check_elsewhere, check_request

PRESETS = load_presets()
Awaited = Coroutine[Any, Any, None] | None
#: Of the entry alone; the generic presets have no facts of a provider.
OF_THE_ENTRY: tuple[Callable[[Provider, Mismatches], Awaited], ...] = (check_entry, check_consent)
#: Of the entry and of what is known about the provider.
OF_THE_FACTS: tuple[Callable[[Provider, Facts, Mismatches], Awaited], ...] = (
    check_needs,
    check_request,
    check_elsewhere,
    check_success,
    check_documented_lifetime,
    check_failures,
    check_token_lives,
)


async def mismatches_of(preset: Provider, facts: Facts | None) -> Mismatches:
    """Run every check, also behind one that fails."""
    mismatches = Mismatches()
    checks = [(one.__name__, partial(one, preset)) for one in OF_THE_ENTRY]
    if facts is not None:
        checks += [(one.__name__, partial(one, preset, facts)) for one in OF_THE_FACTS]
    for name, check in checks:
        try:
            waiting = check(mismatches)
            if waiting is not None:
                await waiting
        except Exception as error:  # noqa: BLE001 a line of the report, beside the others
            mismatches.failed(name, error)
    return mismatches


@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_a_preset_agrees_with_the_facts(name: str) -> None:
    mismatches = await mismatches_of(PRESETS[name], known().get(name))
    assert not mismatches.lines, mismatches.report(name)


async def test_a_preset_with_several_mistakes_is_reported_with_all_of_them() -> None:
    # Made anew: a copy would have what other tests have had computed of the preset.
    changed = {"token_url": "https://accounts.google.com/elsewhere", "margin_s": -1.0, "sources": ()}
    wrong = Provider.model_construct(**{**dict(PRESETS["google"]), **changed})
    mismatches = await mismatches_of(wrong, known()["xero"])
    report = mismatches.report("google")
    for what in ("the entry names no source", "address: ", "client: ", "replay_grace_s: "):
        assert what in report


def test_the_consent_of_much_used_providers_is_known() -> None:
    much_used = {
        "google",
        "microsoft-entra",
        "github",
        "gitlab",
        "salesforce",
        "hubspot",
        "xero",
        "slack",
        "zoom",
    }
    assert much_used <= {name for name, preset in PRESETS.items() if asks_for_consent(preset)}
