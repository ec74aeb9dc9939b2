"""docs/connect.md says of each reason and setting what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.tables.connect_session import ConnectStatus
from worker.connect.reasons import REASONS
from worker.connect.rendering import Theme, text_on
from worker.errors import SettingsError
from worker.settings.connect import ConnectSettings, load_connect_settings

PAGE = (Path(__file__).parents[3] / "docs" / "connect.md").read_text(encoding="utf-8")


def test_the_page_has_every_reason_with_its_words() -> None:
    for code, reason in REASONS.items():
        assert f"| `{code}` | {reason.message} | {reason.action} |" in PAGE


def test_the_page_has_every_status_and_setting() -> None:
    for status in ConnectStatus:
        assert f"`{status.value}`" in PAGE
    for name in ConnectSettings.model_fields:
        assert f"`REFRESHD_CONNECT_{name.upper()}`" in PAGE


@pytest.mark.parametrize(
    ("colour", "text"), [("#000000", "#ffffff"), ("#ffee00", "#000000"), ("#1f5fbf", "#ffffff")]
)
def test_a_button_s_text_is_readable_on_its_colour(colour: str, text: str) -> None:
    assert text_on(colour) == text
    assert f"--on-accent: {text};" in Theme("https://api.example", "Acme", colour).css


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", "#123456; }", ""])
def test_a_colour_that_is_none_is_refused_with_what_would_be_right(colour: str) -> None:
    with pytest.raises(
        SettingsError, match="REFRESHD_CONNECT_COLOUR: not a colour; expected colour of the button"
    ):
        load_connect_settings(colour=colour)


def test_an_empty_name_is_none() -> None:
    assert load_connect_settings(name=" ").name is None
