"""The page about verdicts says what the table says."""

from __future__ import annotations

from pathlib import Path

from docs.generate.verdicts import page
from worker.policy.verdicts.table import TABLE

PAGE = Path(__file__).parents[3] / "docs" / "verdicts.md"


def test_the_page_is_up_to_date() -> None:
    """Run `python -m docs.generate.verdicts > docs/verdicts.md` where this fails."""
    assert PAGE.read_text() == page()


def test_every_reason_is_on_the_page() -> None:
    text = page()
    assert all(f"`{row.reason}`" in text and row.message in text for row in TABLE)
