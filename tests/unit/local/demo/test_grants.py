"""What the local provider knows: rotation, reuse, replay, and what an access token is good for."""

from __future__ import annotations

import pytest

from worker.local.demo.provider.grants import (
    REVOKED_BY_OWNER,
    DemoGrant,
    Grants,
    GrantSpec,
    RequestRefused,
    TokenPair,
)

NOW = 1_000_000.0
Values = dict[str, object]


def made(**spec: object) -> tuple[Grants, DemoGrant, TokenPair]:
    grants = Grants(b"key")
    grant = grants.put(GrantSpec.model_validate({"id": "one", **spec}), now=NOW)
    return grants, grant, grants.tokens(grant)


def spend(grants: Grants, token: str, *, at: float = NOW, client_id: str = "client") -> TokenPair:
    grant, serial = grants.of_refresh_token(token, client_id=client_id)
    grants.refresh(grant, serial, now=at)
    return grants.tokens(grant)


def test_a_refresh_gives_new_tokens() -> None:
    grants, grant, first = made()
    second = spend(grants, first.refresh_token, at=NOW + 5)
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    assert second.issued_at == NOW + 5
    assert (grant.refreshes, grant.serial) == (1, 2)


def test_a_spent_refresh_token_ends_the_grant() -> None:
    grants, grant, first = made()
    second = spend(grants, first.refresh_token)
    with pytest.raises(RequestRefused, match="invalid_grant"):
        spend(grants, first.refresh_token)
    assert grant.reuses == 1
    with pytest.raises(RequestRefused, match="invalid_grant"):
        spend(grants, second.refresh_token)
    with pytest.raises(RequestRefused, match="invalid_token"):
        grants.of_access_token(second.access_token, now=NOW)


def test_within_its_grace_the_last_one_gives_the_same_tokens_again() -> None:
    grants, grant, first = made(replay_grace_s=10)
    second = spend(grants, first.refresh_token)
    assert spend(grants, first.refresh_token, at=NOW + 9.9) == second
    assert (grant.replays, grant.reuses) == (1, 0)
    with pytest.raises(RequestRefused):
        spend(grants, first.refresh_token, at=NOW + 10)


def test_a_grace_is_for_the_last_one_alone() -> None:
    grants, _, first = made(replay_grace_s=10)
    second = spend(grants, first.refresh_token)
    spend(grants, second.refresh_token)
    with pytest.raises(RequestRefused):
        spend(grants, first.refresh_token)


def test_without_rotation_the_refresh_token_stays() -> None:
    grants, grant, first = made(rotates=False)
    for _ in range(3):
        assert spend(grants, first.refresh_token).refresh_token == first.refresh_token
    assert (grant.refreshes, grant.reuses) == (3, 0)


def test_a_provider_that_starts_again_goes_on_with_the_tokens_it_gave() -> None:
    grants, grant, first = made()
    third = spend(grants, spend(grants, first.refresh_token).refresh_token)

    again = Grants(b"key")
    again.put(grant.spec, now=NOW)
    fourth = spend(again, third.refresh_token)

    spend(again, fourth.refresh_token)
    with pytest.raises(RequestRefused, match="revoked"):
        spend(again, third.refresh_token)


@pytest.mark.parametrize(
    "token", ["", "x", "rt.one.1", "rt.one.1.", "rt.one.1.AAAAAAAAAAAAAAAAAAAA", "ü.ü.1.ü"]
)
def test_what_was_not_signed_here_is_unknown(token: str) -> None:
    grants, _, _ = made()
    with pytest.raises(RequestRefused, match="unknown refresh token"):
        grants.of_refresh_token(token, client_id="client")
    with pytest.raises(RequestRefused, match="unknown access token"):
        grants.of_access_token(token, now=NOW)


def test_a_token_of_one_kind_is_none_of_the_other() -> None:
    grants, _, tokens = made()
    with pytest.raises(RequestRefused):
        grants.of_refresh_token(tokens.access_token, client_id="client")
    with pytest.raises(RequestRefused):
        grants.of_access_token(tokens.refresh_token, now=NOW)


def test_another_client_gets_nothing_for_it() -> None:
    grants, _, tokens = made()
    with pytest.raises(RequestRefused, match="another client"):
        spend(grants, tokens.refresh_token, client_id="other")


@pytest.mark.parametrize(("after_s", "good"), [(0, True), (59.9, True), (60, False)])
def test_an_access_token_ends(after_s: float, *, good: bool) -> None:
    grants, grant, tokens = made(lifetime_s=60)
    if good:
        assert grants.of_access_token(tokens.access_token, now=NOW + after_s) is grant
    else:
        with pytest.raises(RequestRefused, match="ended"):
            grants.of_access_token(tokens.access_token, now=NOW + after_s)


@pytest.mark.parametrize(("old", "good"), [("lives", True), ("dies", False)])
def test_a_refresh_may_end_the_old_access_token(old: str, *, good: bool) -> None:
    grants, grant, first = made(old_access_token=old)
    second = spend(grants, first.refresh_token)
    assert grants.of_access_token(second.access_token, now=NOW) is grant
    if good:
        assert grants.of_access_token(first.access_token, now=NOW) is grant
    else:
        with pytest.raises(RequestRefused, match="a refresh ended"):
            grants.of_access_token(first.access_token, now=NOW)


def test_an_owner_s_revocation_is_no_reuse() -> None:
    grants, grant, tokens = made()
    grant.revoke(REVOKED_BY_OWNER)
    with pytest.raises(RequestRefused, match="invalid_grant"):
        spend(grants, tokens.refresh_token)
    assert grant.reuses == 0


def test_putting_a_grant_again_changes_its_terms_and_keeps_its_tokens() -> None:
    grants, grant, first = made()
    second = spend(grants, first.refresh_token)
    assert grants.put(GrantSpec(id="one", lifetime_s=7), now=NOW + 9) is grant
    assert grants.tokens(grant).refresh_token == second.refresh_token
    assert grant.spec.lifetime_s == 7


def test_calls_at_once_are_seen() -> None:
    _, grant, _ = made()
    with grant.call():
        with grant.call():
            pass
        with grant.call():
            assert grant.in_flight == 2
    assert (grant.in_flight, grant.max_in_flight) == (0, 2)


def test_tokens_do_not_show_themselves() -> None:
    _, _, tokens = made()
    assert tokens.access_token not in repr(tokens)
    assert tokens.refresh_token not in repr(tokens)
