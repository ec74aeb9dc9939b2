"""The page about authorization servers names each preset that was measured, and no knob that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from models.providers import Provider
from models.providers.presets import load_presets

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
MEASURED = yaml.safe_load((Path(__file__).parent / "facts_of_providers" / "servers.yaml").read_text())
#: Fields of an account that stand beside knobs on the page.
OF_ACCOUNTS = {"provider", "refresh_method"}


def test_each_measured_server_has_a_row_in_both_tables() -> None:
    first = re.findall(r"^\| `([a-z0-9-]+)`", PAGE, re.MULTILINE)
    assert set(first) == set(MEASURED)
    for name in MEASURED:
        assert first.count(name) >= 2


def test_what_to_write_are_knobs_that_exist() -> None:
    named = set(re.findall(r"`([a-z_]+): ", PAGE))
    assert named - OF_ACCOUNTS <= set(Provider.model_fields)


def test_confirmed_are_those_that_the_page_names() -> None:
    """Where a second try may end a grant none is made, so the page has to be right about it."""
    presets = load_presets()
    free = {name for name in MEASURED if presets[name].rotates is False or presets[name].replayable}
    line = PAGE.partition("**An `invalid_grant` is confirmed**")[2].partition("Elsewhere")[0]
    assert free == set(re.findall(r"`([a-z0-9-]+)`", line)) & set(MEASURED)


def test_servers_without_a_url_of_their_own_take_the_accounts() -> None:
    presets = load_presets()
    assert {name for name in MEASURED if presets[name].endpoint is not None} == set()
