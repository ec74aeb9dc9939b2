"""From an answer to the next generation."""

from __future__ import annotations

from models.token import Secret, TokenResponse
from worker.policy.rotation import Held, complete

HELD = Held(
    refresh_token=Secret("old"),
    token_type="Bearer",
    scope="read write",
    refresh_token_expires_at=5_000.0,
    extra={"instance_url": "https://a.example", "kept": "1"},
)


def test_what_the_provider_leaves_out_is_kept() -> None:
    tokens = complete(TokenResponse(access_token=Secret("new")), HELD, issued_at=1_000.0)

    assert tokens.refresh_token == Secret("old")
    assert (tokens.token_type, tokens.scope) == ("Bearer", "read write")
    assert tokens.expires_at is None
    assert tokens.refresh_token_expires_at == 5_000.0
    assert tokens.extra == HELD.extra


def test_what_the_provider_says_replaces_what_was() -> None:
    response = TokenResponse(
        access_token=Secret("new"),
        refresh_token=Secret("rotated"),
        token_type="bearer",
        scope="read",
        expires_in_s=60.0,
        extra={"instance_url": "https://b.example"},
    )
    tokens = complete(response, HELD, issued_at=1_000.0)

    assert tokens.refresh_token == Secret("rotated")
    assert (tokens.token_type, tokens.scope, tokens.expires_at) == ("bearer", "read", 1_060.0)
    assert tokens.extra == {"instance_url": "https://b.example", "kept": "1"}


def test_a_provider_whose_tokens_never_end_is_not_asked_for_an_end() -> None:
    response = TokenResponse(access_token=Secret("new"), expires_in_s=60.0)
    assert complete(response, HELD, issued_at=1.0, never_expires=True).expires_at is None


def test_a_narrower_scope_is_stored_even_when_it_is_empty() -> None:
    response = TokenResponse(access_token=Secret("new"), scope="")
    assert complete(response, HELD, issued_at=1.0).scope == ""
