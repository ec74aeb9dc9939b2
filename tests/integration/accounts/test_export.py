"""`refreshd accounts export`: what import reads, without secrets unless asked."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from tests.integration.accounts.conftest import NOW, Refreshd, acme

Write = Callable[..., Path]


@pytest.mark.usefixtures("three")
def test_export_leaves_secrets_out_unless_asked(refreshd: Refreshd, tmp_path: Path) -> None:
    ran = refreshd("accounts", "export", str(tmp_path / "out.jsonl"))
    assert ran.exit_code == 0
    text = (tmp_path / "out.jsonl").read_text()
    assert [json.loads(line)["id"] for line in text.splitlines()] == ["a", "b", "c"]
    for hush in ("hush", "client-secret-text", "access-of", "refresh-of"):
        assert hush not in text
    again = refreshd("accounts", "import", str(tmp_path / "out.jsonl"), "--json")
    assert again.json["unchanged"] == 3


@pytest.mark.parametrize("suffix", ["jsonl", "yaml", "csv"])
def test_what_was_exported_with_secrets_is_imported_as_it_was(
    refreshd: Refreshd, file: Write, tmp_path: Path, suffix: str
) -> None:
    odd = {
        "custom_fields.pem": '-----BEGIN\n a,b;"c"\n',
        "custom_fields.odd": " \N{GRINNING FACE} \u2028 0123 ",
        "custom_fields.number": "007",
        "scope": "1e5",
        "client_id": "0123",
        "params": {"audience": "30", "tenant": "${custom.number}", "none": "true"},
        "margin_s": 12.5,
        "authorization": "30",
    }
    path = file(acme("a", issued_at=NOW + 0.25, expires_in=100, **odd), acme("b", session_timeout_s=0.1))
    assert refreshd("accounts", "import", str(path)).exit_code == 0
    out = tmp_path / f"out.{suffix}"
    assert refreshd("accounts", "export", str(out), "--with-secrets").exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert refreshd("accounts", "import", str(out), "--json").json["unchanged"] == 2
    before = refreshd("accounts", "export", "--with-secrets").stdout
    refreshd("accounts", "remove", "a", "b", "--yes")
    assert refreshd("accounts", "import", str(out), "--json").json["added"] == 2
    assert refreshd("accounts", "export", "--with-secrets").stdout == before


def test_an_empty_export_can_be_imported(refreshd: Refreshd, tmp_path: Path) -> None:
    for suffix in ("jsonl", "yaml", "csv"):
        assert refreshd("accounts", "export", str(tmp_path / f"out.{suffix}")).exit_code == 0
        assert refreshd("accounts", "import", str(tmp_path / f"out.{suffix}")).exit_code == 0


@pytest.mark.usefixtures("three")
def test_export_to_standard_output_is_nothing_but_the_file(refreshd: Refreshd) -> None:
    ran = refreshd("accounts", "export", "--format", "csv")
    assert [row["id"] for row in csv.DictReader(StringIO(ran.stdout))] == ["a", "b", "c"]
    assert refreshd("accounts", "export", "out.txt").exit_code == 2
