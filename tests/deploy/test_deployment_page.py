"""docs/deployment.md names every setting, at its real default, and no file that is not there."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.deploy.compose_file import ROOT
from worker.settings import Settings

PAGE: Final = (ROOT / "docs/deployment.md").read_text()
ROWS: Final = dict(re.findall(r"^\| `(REFRESHD_\w+)` \| (.*?) \|", PAGE, re.MULTILINE))


def test_the_table_holds_exactly_the_settings() -> None:
    assert ROWS.keys() == {f"REFRESHD_{name}".upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_default_is_the_real_one(name: str) -> None:
    default = Settings.model_fields[name].default
    said = ROWS[f"REFRESHD_{name}".upper()].strip("`")
    if default in (None, ()):
        assert not re.fullmatch(r"[\d.]*", said), "a number, where none is the default"
    else:
        assert said.lower() == str(default).lower()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`?((?:deploy|tests|docs)/[\w./]+\w)", PAGE))))
def test_a_named_file_is_there(path: str) -> None:
    assert (ROOT / path).exists()
