"""The request that a worker would build is built for an explanation only where it tells more than the last call did."""

from __future__ import annotations

from typing import Any

import pytest

from models.providers import ClientAuth, Provider
from models.tables.account import Account
from models.tables.attempt import Attempt, Trigger
from worker.diagnostics.explain.request_facts import is_worth_building
from worker.policy.reasons.correction import REQUEST_IMPOSSIBLE


def attempt(**facts: Any) -> Attempt:
    known: dict[str, Any] = {"id": "a", "account_id": "acct", "trigger": Trigger.PLANNED, "opened_at": 1.0}
    return Attempt(**{**known, "generation": 1, "config_version": 1, **facts})


@pytest.mark.parametrize(
    ("last", "account", "provider", "worth"),
    [
        (attempt(), {}, {}, False),
        (None, {}, {}, True),
        (attempt(reason=str(REQUEST_IMPOSSIBLE)), {}, {}, True),
        (attempt(), {"config_version": 2}, {}, True),
        (attempt(), {"client_auth": ClientAuth.MTLS}, {}, True),
        (attempt(), {}, {"client_auth": ClientAuth.MTLS}, True),
    ],
    ids=[
        "as it was sent",
        "untried",
        "not sent",
        "edited since",
        "certificate",
        "the provider's certificate",
    ],
)
def test_it_is_built_where_the_last_call_does_not_tell(
    last: Attempt | None, account: dict[str, Any], provider: dict[str, Any], *, worth: bool
) -> None:
    configured: dict[str, Any] = {"id": "acct", "provider": "acme", "config_version": 1, **account}
    known: dict[str, Any] = {"name": "acme", "title": "Acme", "sources": ("test",), **provider}
    one, described = Account(**configured), Provider(**known)
    assert is_worth_building(one, described, None, last) is worth
