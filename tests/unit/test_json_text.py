"""JSON of our own making."""

from __future__ import annotations

import json

import pytest

from worker.json_text import text_of


@pytest.mark.parametrize("text", ["plain", "näher", "half of a pair: \ud83d", '"\\\n'])
def test_any_text_is_read_back_as_it_was(text: str) -> None:
    assert json.loads(text_of({"token": text, "end": 1.5, "none": None})) == {
        "token": text,
        "end": 1.5,
        "none": None,
    }


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="not a JSON value: object"):
        text_of({"token": object()})
