"""A secret in the query of a URL is shown by no command, and exported only with the other secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Refreshd, acme

PLANTED = "planted-in-the-url"
URLS = {
    "token_url": f"https://auth.acme.example/token?code={PLANTED}&tenant=${{custom.tenant}}",
    "server_url": f"https://acme.example/?{PLANTED}",
    "revocation_url": f"https://auth.acme.example/revoke?key={PLANTED}",
    "authorize_url": f"https://auth.acme.example/authorize?key={PLANTED}#{PLANTED}",
    "custom_fields": {"tenant": "t1"},
}


@pytest.fixture
def planted(refreshd: Refreshd, file: Callable[..., Path]) -> None:
    ran = refreshd("accounts", "import", str(file(acme("a", **URLS), acme("b"))))
    assert ran.exit_code == 0, ran.stderr


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_show_masks_what_stands_in_a_query(refreshd: Refreshd, options: tuple[str, ...]) -> None:
    shown = refreshd("accounts", "show", "a", *options)
    assert shown.exit_code == 0
    words = "".join((shown.stdout + shown.stderr).split())  # a table breaks its lines, and cuts them
    assert PLANTED not in words
    assert "https://auth.acme.example/token?code=**********&tenant=$" in words


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("file_format", ["jsonl", "yaml", "csv"])
def test_an_export_without_secrets_leaves_such_a_url_out(refreshd: Refreshd, file_format: str) -> None:
    exported = refreshd("accounts", "export", "--format", file_format)
    assert PLANTED not in exported.stdout + exported.stderr
    assert "https://auth.acme.example/token" in exported.stdout, "of b, which has no query"
    with_secrets = refreshd("accounts", "export", "--format", file_format, "--with-secrets")
    assert with_secrets.stdout.count(PLANTED) == 5


@pytest.mark.usefixtures("planted")
def test_such_an_export_changes_nothing_when_it_is_imported(refreshd: Refreshd, tmp_path: Path) -> None:
    for options in ((), ("--with-secrets",)):
        path = tmp_path / "exported.jsonl"
        assert refreshd("accounts", "export", str(path), *options).exit_code == 0
        summary = refreshd("accounts", "import", str(path), "--json").json
        assert (summary["unchanged"], summary["failed"]) == (2, 0), summary


@pytest.mark.usefixtures("planted")
def test_a_list_does_not_show_it(refreshd: Refreshd) -> None:
    assert PLANTED not in refreshd("accounts", "list", "--json").stdout
