"""The file of presets: in order, complete, and readable by a person and an editor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from docs.generate.providers import page
from models.providers.presets import load_presets
from models.providers.schema import providers_schema
from tests.contract.presets.entries import GENERIC, RAW, TEXT
from tests.contract.presets.facts import known

PRESETS = load_presets()
ROOT = Path(__file__).parents[3]


def test_entries_stand_in_the_order_of_their_names_one_blank_line_apart() -> None:
    names = [name for name in RAW if not name.startswith(".")]
    assert names == GENERIC + sorted(set(names) - set(GENERIC))
    assert "\n\n\n" not in TEXT
    for name in names:
        assert re.search(rf"\n\n(?:# .*\n)*{re.escape(name)}:\n", TEXT)


def test_every_preset_is_held_against_facts_and_every_fact_has_a_preset() -> None:
    assert set(known()) == set(PRESETS) - set(GENERIC)


def test_titles_are_told_apart() -> None:
    titles = [preset.title for preset in PRESETS.values()]
    assert len(set(titles)) == len(titles)


def test_the_json_schema_describes_the_file() -> None:
    schema = providers_schema()
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(RAW)


@pytest.mark.parametrize(
    ("entry", "good"),
    [
        ({"extends": "google", "margin_s": 60}, True),
        ({"token_url": ["https://a.example.com/t", "https://b.example.com/t"]}, True),
        ({"publish_fields": ["a"], "response": {"access_token": ["a.b", "c"]}}, True),
        ({"publish_fields": {"host": "data.host"}}, True),
        ({"error_rules": [{"status": 409, "verdict": "retry", "reason": "conflict"}]}, True),
        ({"tokenurl": "https://a.example.com/t"}, False),
        ({"margin_s": "soon"}, False),
        ({"grant": "password"}, False),
        ({"error_rules": [{"status": 409, "verdict": "later", "reason": "conflict"}]}, False),
        ({"name": "other"}, False),
    ],
)
def test_the_json_schema_takes_what_the_loader_takes(entry: dict[str, object], good: bool) -> None:
    assert Draft202012Validator(providers_schema()).is_valid({"mine": entry}) is good


def test_the_page_is_up_to_date() -> None:
    """`python -m docs.generate.providers > docs/providers.md`."""
    assert (ROOT / "docs" / "providers.md").read_text(encoding="utf-8") == page()


def test_the_page_has_every_provider_in_rows_of_the_same_shape() -> None:
    text = page()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    table = rows[1 : next(at for at, row in enumerate(rows) if row.startswith("| why"))]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in table} == {8}
    assert all(f"`{name}`" in text for name in PRESETS)
