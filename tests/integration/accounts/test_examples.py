"""The example files are imported as they are, and say the same in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Refreshd

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(("first", "second"), [("jsonl", "yaml"), ("yaml", "csv"), ("csv", "jsonl")])
def test_examples_are_accounts_and_all_the_same(refreshd: Refreshd, first: str, second: str) -> None:
    ran = refreshd("accounts", "import", str(EXAMPLES / f"accounts.{first}"), "--json")
    assert (ran.exit_code, ran.json["added"], ran.json["errors"]) == (0, 6, [])
    assert (
        refreshd("accounts", "import", str(EXAMPLES / f"accounts.{second}"), "--json").json["unchanged"] == 6
    )
