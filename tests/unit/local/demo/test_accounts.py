"""The demo's accounts show every kind of account there is, and the importer takes all of them."""

from __future__ import annotations

import json

import pytest

from models.tables.account import RefreshMethod, SessionManagement
from worker.accounts.entry import read_entry
from worker.local.demo.accounts import DEFAULT_NUMBER, LIFETIMES_S, Story, accounts_file, demo_accounts
from worker.local.demo.provider.grants import Grants

TOKEN_URL = "http://127.0.0.1:1/token"


def test_every_kind_is_there() -> None:
    accounts = demo_accounts()
    assert len(accounts) == DEFAULT_NUMBER
    assert {one.session_management for one in accounts} == set(SessionManagement)
    assert {one.kind.refresh_method for one in accounts} == {RefreshMethod.BODY, RefreshMethod.URL_QUERY}
    assert {one.grant.client_auth for one in accounts} == {"body", "basic"}
    assert {one.story for one in accounts if one.story} == set(Story)
    lifetimes = {one.grant.lifetime_s for one in accounts if one.session_management is SessionManagement.AUTO}
    assert lifetimes == set(LIFETIMES_S)


@pytest.mark.parametrize("number", [1, 36, 300])
def test_ids_and_clients_are_told_apart(number: int) -> None:
    accounts = demo_accounts(number)
    assert len({one.id for one in accounts}) == number
    clients = {(one.grant.client_id, one.grant.client_secret, one.grant.client_auth) for one in accounts}
    assert len({client_id for client_id, *_ in clients}) == len(clients)


def test_the_file_is_what_import_reads() -> None:
    text = accounts_file(demo_accounts(), Grants(b"key"), token_url=TOKEN_URL, now=1_700_000_000.0)
    entries = [read_entry(json.loads(line)) for line in text.splitlines()]
    assert [entry.id for entry in entries] == [one.id for one in demo_accounts()]
    assert all(entry.refresh_token for entry in entries)


def test_only_the_one_with_the_wrong_secret_has_a_wrong_secret() -> None:
    text = accounts_file(demo_accounts(), Grants(b"key"), token_url=TOKEN_URL, now=0.0)
    rows = {row["id"]: row for row in map(json.loads, text.splitlines())}
    wrong = [one for one in demo_accounts() if rows[one.id]["client_secret"] != one.grant.client_secret]
    assert [one.story for one in wrong] == [Story.WRONG_SECRET]


@pytest.mark.parametrize(
    ("position", "policy"),
    [(1, "auto 20s"), (5, "fixed 40s"), (6, "fixed 25s"), (12, "none"), (16, "auto 120s")],
)
def test_a_policy_is_said_in_a_few_characters(position: int, policy: str) -> None:
    assert demo_accounts()[position - 1].policy == policy
