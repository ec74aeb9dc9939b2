"""The contract, from both sides: golden payloads are read by the reader and written byte for byte by `to_hash`.

A golden file changes only when the contract does. The files `*-n-1` hold what the version before wrote, those with
`unknown-fields` what a later one may write.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from models.publication import Publication
from refreshd_reader import AccountState, Announcement, Keys, Rejection, Token
from refreshd_reader.contract import ACCOUNT_ID, TOKEN_FIELDS, seconds_text
from tests.integration.reader.publisher import Publisher
from tests.support.services import RedisServer
from worker.redis.publisher import TokenPublisher

GOLDEN = Path(__file__).parents[2] / "contract/golden"
KEYS = Keys()

TOKENS = {
    "token": (
        "acct-1",
        Token(
            "eyJhbGciOi.golden.token",
            7,
            "Bearer",
            "api refresh_token",
            1795485300,
            1795492500.25,
            {"instance_url": "https://eu1.example.com"},
        ),
    ),
    "token-without-end": ("acct-1", Token("00D-golden!token/+=", 1)),
    "token-foreign-text": (
        "user@Example.com:2_x",
        Token(
            "a b\tc", 9007199254740993, "Zoho-oauthtoken", "", extra={"company": "Müller & Söhne 株式会社"}
        ),
    ),
}
STATES = {
    "account-active": AccountState("active", 7, next_refresh_at=1795491780.5),
    "account-reauthorize": AccountState("reauthorize", 7, "invalid_grant", since=1795485300),
}


def _golden(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_bytes())
    return payload


def _as_golden(payload: dict[str, Any]) -> bytes:
    return (json.dumps(payload, indent=2, sort_keys=True) + "\n").encode()


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_is_written_byte_for_byte_and_read_back(name: str) -> None:
    account, token = TOKENS[name]
    written = _as_golden({"key": KEYS.token(account), "fields": token.to_hash()})
    assert written == (GOLDEN / f"{name}.json").read_bytes()
    assert Token.from_hash(_golden(name)["fields"]) == token


@pytest.mark.parametrize("name", STATES)
def test_an_accounts_state_is_written_byte_for_byte_and_read_back(name: str) -> None:
    written = _as_golden({"key": KEYS.account("acct-1"), "fields": STATES[name].to_hash()})
    assert written == (GOLDEN / f"{name}.json").read_bytes()
    assert AccountState.from_hash(_golden(name)["fields"]) == STATES[name]


def test_a_rejection_is_written_byte_for_byte_and_read_back() -> None:
    rejection = Rejection("acct-1", 7, 401)
    written = _as_golden({"key": KEYS.rejected, "fields": rejection.to_entry()})
    assert written == (GOLDEN / "rejected.json").read_bytes()
    assert Rejection.from_entry(_golden("rejected")["fields"]) == rejection


def test_an_announcement_is_written_byte_for_byte_and_read_back() -> None:
    announcement = Announcement("acct-1", 7)
    written = _as_golden({"channel": KEYS.announce, "message": announcement.to_text()})
    assert written == (GOLDEN / "announcement.json").read_bytes()
    assert Announcement.from_text(_golden("announcement")["message"]) == announcement


@pytest.mark.parametrize("name", TOKENS)
async def test_the_workers_publish_the_golden_files(
    name: str, publisher: Publisher, server: RedisServer
) -> None:
    account, token = TOKENS[name]
    state = STATES["account-active"]
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await TokenPublisher(client, publisher.keys).put(
            [Publication(account, state, replace(token, expires_at=None))]
        )
    fields: Any = publisher.client.hgetall(publisher.keys.token(account))
    golden = _golden(name)["fields"]
    golden.pop("expires_at", None)  # it has passed, or will: Redis would not keep the key
    assert fields == golden
    state_fields: Any = publisher.client.hgetall(publisher.keys.account(account))
    assert state_fields == _golden("account-active")["fields"]


def test_the_version_before_is_read() -> None:
    assert Token.from_hash(_golden("token-n-1")["fields"]) == Token("eyJhbGciOi.golden.token", 7)
    assert AccountState.from_hash(_golden("account-n-1")["fields"]) == AccountState(
        "degraded", 7, "timeout", 1795485360
    )


def test_fields_of_a_later_version_are_ignored() -> None:
    token = Token.from_hash(_golden("token-unknown-fields")["fields"])
    assert (token.generation, dict(token.extra)) == (7, {"of_a_later_version": "1"})
    assert AccountState.from_hash(_golden("account-unknown-fields")["fields"]).reason == "too_new"
    assert Rejection.from_entry(_golden("rejected-unknown-fields")["fields"]).http_status == 403


def test_every_golden_file_is_tested() -> None:
    tested = {*TOKENS, *STATES, "rejected", "announcement"}
    read = {
        "token-n-1",
        "account-n-1",
        "token-unknown-fields",
        "account-unknown-fields",
        "rejected-unknown-fields",
        "token-sealed",
    }
    assert {path.stem for path in GOLDEN.iterdir()} == tested | read


def test_every_key_stands_under_the_prefix_and_has_the_account_as_its_hash_tag() -> None:
    keys = Keys("acme:")
    assert [keys.token("a:b"), keys.account("a:b"), keys.lock("a:b"), keys.stash("a:b")] == [
        "acme:token:{a:b}",
        "acme:account:{a:b}",
        "acme:lock:{a:b}",
        "acme:stash:{a:b}",
    ]
    assert [keys.events, keys.announce, keys.rejected] == ["acme:events", "acme:announce", "acme:rejected"]


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
MILLISECONDS = st.integers(0, 10**13).map(lambda ms: ms / 1000)


@given(
    st.builds(
        Token,
        access_token=TEXT,
        generation=st.integers(0, 2**63 - 1),
        token_type=TEXT.filter(bool),
        scope=st.none() | TEXT,
        issued_at=st.none() | MILLISECONDS,
        expires_at=st.none() | MILLISECONDS,
        extra=st.dictionaries(TEXT.filter(lambda name: name not in TOKEN_FIELDS), TEXT, max_size=3),
    )
)
def test_a_written_token_is_read_back(token: Token) -> None:
    assert Token.from_hash(token.to_hash()) == token


@given(st.from_regex(ACCOUNT_ID, fullmatch=True), st.integers(0, 2**63 - 1), st.integers(100, 599))
def test_reports_and_announcements_are_read_back(account: str, generation: int, status: int) -> None:
    rejection, announcement = Rejection(account, generation, status), Announcement(account, generation)
    assert Rejection.from_entry(rejection.to_entry()) == rejection
    assert Announcement.from_text(announcement.to_text()) == announcement


@pytest.mark.parametrize("text", ["", "acct-1", "acct-1 x", "a b 7", "acct-1 7 "])
def test_an_unreadable_announcement_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Announcement.from_text(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"account": "a}b", "generation": "1", "http_status": "401"},
        {"account": "", "generation": "1", "http_status": "401"},
        {"account": "a" * 129, "generation": "1", "http_status": "401"},
        {"account": "a", "generation": "one", "http_status": "401"},
        {"account": "a", "generation": "1", "http_status": ""},
        {"account": "a", "generation": "1" * 5000, "http_status": "401"},
    ],
)
def test_a_forged_report_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Rejection.from_entry(fields)


def test_a_field_of_the_provider_never_replaces_a_field_of_the_contract() -> None:
    token = Token("ours", 7, extra={"access_token": "theirs", "generation": "8", "id": "x"})
    assert token.to_hash() == {"access_token": "ours", "token_type": "Bearer", "generation": "7", "id": "x"}


@pytest.mark.parametrize(("at", "text"), [(0, "0"), (1795485300.0, "1795485300"), (1.5, "1.500")])
def test_seconds_are_whole_where_they_are_whole(at: float, text: str) -> None:
    assert seconds_text(at) == text


def test_the_contract_needs_the_standard_library_alone() -> None:
    """The workers import it everywhere, `--help` included."""
    code = (
        "import sys, refreshd_reader.contract, refreshd_reader;"
        "print({'redis', 'httpx', 'requests', 'asyncio'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
