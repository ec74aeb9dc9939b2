"""`refreshd providers`: what a person and a script are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from worker.cli.providers import UnknownProvider, UnusableProviders, providers_app
from worker.errors import UsageError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No .env, no providers of the machine that tests run on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFRESHD_PROVIDERS_FILE", raising=False)


def run(*words: str) -> Result:
    return CliRunner().invoke(providers_app, words)


def own(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text)
    return path


def test_list_shows_names_and_what_an_account_needs() -> None:
    result = run("list", "shopify")
    assert result.exit_code == 0
    assert "shopify-cc  Shopify, client credentials (client_credentials; needs subdomain)\n" in result.stdout
    assert "google" not in result.stdout


def test_list_finds_a_provider_by_the_name_that_people_know() -> None:
    assert "google-mail" in run("list", "gmail").stdout


@pytest.mark.parametrize("words", [("no-such-thing",), ("no-such-thing", "--json")])
def test_list_says_that_nothing_matches_and_how_to_see_all(words: tuple[str, ...]) -> None:
    result = run("list", *words)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "holds 'no-such-thing': `refreshd providers list` shows all" in result.stderr


def test_list_prints_json_lines() -> None:
    lines = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    google = next(line for line in lines if line["name"] == "google")
    assert google == {
        "name": "google",
        "title": "Google",
        "grant": "refresh_token",
        "client_auth": "body",
        "token_url": "https://oauth2.googleapis.com/token",
        "needs": ["client_id", "client_secret", "refresh_token"],
        "verified": "vendor-doc+code",
    }


def test_list_has_the_providers_of_ones_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own(tmp_path, "acme: {token_url: https://acme.example.com/t}\n")
    monkeypatch.setenv("REFRESHD_PROVIDERS_FILE", str(path))
    assert "acme" in run("list").stdout


def test_show_prints_what_a_file_could_say(tmp_path: Path) -> None:
    shown = run("show", "exact-online").stdout
    knobs, _, needs = shown.partition("\nAn account needs: ")
    assert needs.strip() == "client_id, client_secret, refresh_token"
    assert run("check", str(own(tmp_path, knobs.replace("exact-online:", "mine:")))).exit_code == 0


def test_show_prints_one_json_object() -> None:
    shown = json.loads(run("show", "shopify", "--json").stdout)
    assert (shown["name"], shown["rotates"], shown["needs"][-1]) == (
        "shopify",
        True,
        "custom_fields.subdomain",
    )


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("gogle", "google"),
        ("Google", "google, "),
        ("gmail", "google-mail"),
        ("Xero", "xero"),
        ("qqqqq", "generic"),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_are_near(name: str, offered: str) -> None:
    error = run("show", name).exception
    assert isinstance(error, UnknownProvider)
    assert isinstance(error, UsageError)
    assert offered in str(error)


def test_check_says_what_each_entry_is(tmp_path: Path) -> None:
    path = own(
        tmp_path, "xero: {margin_s: 60}\nacme: {extends: google, token_url: 'https://${account.host}/t'}\n"
    )
    result = run("check", str(path))
    assert result.exit_code == 0
    assert "xero: fine, changes the built-in one" in result.stdout
    assert (
        "acme: fine, is new; an account needs client_id, client_secret, refresh_token, custom_fields.host"
        in result.stdout
    )
    assert "2 providers can be used" in result.stdout


def test_check_warns_of_a_scope_that_may_narrow_the_grant(tmp_path: Path) -> None:
    entries = "acme: {token_url: 'https://acme.example.com/t', send_scope: true}\nmine: {extends: generic-client-credentials}\n"
    lines = run("check", str(own(tmp_path, entries))).stdout.splitlines()
    assert [line for line in lines if "narrows the grant for good" in line] == [lines[1]]
    assert lines[1].startswith("acme: send_scope")


def test_check_names_every_mistake(tmp_path: Path) -> None:
    error = run("check", str(own(tmp_path, "a: {x: 1}\nb: {token_url: 'https://${nope}/t'}\n"))).exception
    assert isinstance(error, UnusableProviders)
    assert "a.x" in str(error)
    assert "'nope' is no variable" in str(error)


def test_schema_prints_the_json_schema() -> None:
    schema = json.loads(run("schema").stdout)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid({"acme": {"token_url": "https://acme.example.com/t"}})
