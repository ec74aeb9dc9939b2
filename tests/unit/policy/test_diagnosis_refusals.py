"""What `explain` says of a grant or a client that was refused: the provider's own words decide, then the history."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from models.providers import Provider
from models.rate_limit import WaitReason
from models.tables.account import Status
from models.tables.attempt import Outcome
from tests.unit.diagnostics.test_rules import (
    CALLBACK,
    CLIENT_REFUSED,
    NOW,
    REDIS,
    REVOKED,
    attempt,
    facts,
    gate,
)
from worker.diagnostics.explain.facts import Facts
from worker.diagnostics.explain.rules import diagnose
from worker.policy.verdicts.causes import CAUSES, Cause, cause_of
from worker.policy.verdicts.row import Phrase

EXAMPLES = [(row.cause, phrase) for row in CAUSES for phrase in row.phrases]
ROTATES = Provider(name="acme", rotates=True)


@pytest.mark.parametrize(("cause", "phrase"), EXAMPLES, ids=[phrase.words for _, phrase in EXAMPLES])
def test_a_phrase_names_its_cause(cause: Cause, phrase: Phrase) -> None:
    body = phrase.example.body
    assert cause_of((body.get("error"), body.get("error_description"))) is cause
    assert phrase.source


#: Doorkeeper's words, RFC 6749 section 5.2's: every reason at once.
ANY_OF_THEM = (
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the "
    "authorization request, or was issued to another client."
)


@pytest.mark.parametrize(
    "description",
    [
        None,
        ANY_OF_THEM,
        "The refresh token has not been used",
        "grant not found",
        "The client_id parameter is unknown",
    ],
)
def test_what_says_nothing_of_the_cause_names_none(description: str | None) -> None:
    assert cause_of(("invalid_grant", description)) is None


def refused(
    description: str, *, first: bool = False, account: dict[str, Any] | None = None, **more: Any
) -> Facts:
    """Return a grant that the provider refused with these words, at its first use here or after good ones."""
    attempts = [attempt(Outcome.REAUTHORIZE, "invalid_grant", error_description=description)]
    if not first:
        attempts.append(attempt(Outcome.REFRESHED))
    generation = 1 if first else 7
    redis = replace(REDIS, token_generation=generation, state_generation=generation)
    row = REVOKED | {"generation": generation} | (account or {})
    return facts(row, attempts=attempts, redis=redis, **more)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("description", ["refresh token was used before", "token reuse detected"])
def test_a_token_that_was_used_before_needs_the_other_program_stopped_first(
    description: str, first: bool
) -> None:
    found = diagnose(refused(description, first=first))[0]
    assert found.cause == "refresh_token_rotated_by_somebody_else"
    assert "The provider says that the refresh token was used before." in found.message
    assert found.hint.startswith("Stop the other program first")
    assert "`refreshd accounts authorize acct" in found.hint


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("Token has been revoked", "The grant was ended"),
        ("user changed password", "changed the password"),
        ("The refresh token has expired due to inactivity.", "came to its end"),
    ],
)
def test_no_other_program_is_blamed_where_the_provider_says_why(
    description: str, words: str, first: bool
) -> None:
    found = diagnose(refused(description, first=first, provider=ROTATES))[0]
    assert found.cause == "grant_revoked"
    assert words in found.message
    assert "program" not in found.message
    assert "Stop" not in found.hint


def test_the_words_of_a_callback_count_as_the_providers_do() -> None:
    found = {
        one.cause: one
        for one in diagnose(
            refused("user changed password", account=CALLBACK, callbacks={"callback@one": ["acme"]})
        )
    }
    assert "as the callback 'acme' says" in found["grant_revoked"].message
    assert "callbacks test" not in found["grant_revoked"].hint


def test_what_it_says_nothing_of_is_told_by_the_history() -> None:
    assert "used, revoked or replaced before" in diagnose(refused("no", first=True))[0].message
    assert "Or another program used the refresh token" in diagnose(refused("no", provider=ROTATES))[0].message


@pytest.mark.parametrize(
    ("account", "more", "remedy"),
    [
        ({"client_secret_sealed": None}, {}, "client_secret=@FILE`, or for a public client `refreshd accounts edit acct client_auth=none`"),
        ({"client_auth": "basic"}, {"form_encoding_matters": True}, "client_auth=basic_raw`"),
        ({"client_auth": "basic_raw"}, {"form_encoding_matters": True}, "client_auth=basic`"),
        ({"client_auth": "basic"}, {}, "`refreshd accounts edit acct client_secret=@FILE`"),
        ({"client_auth": "body"}, {"form_encoding_matters": True}, "`refreshd accounts edit acct client_secret=@FILE`"),
    ],
)  # fmt: skip
def test_advice_about_a_client_fits_what_it_has(
    account: dict[str, Any], more: dict[str, Any], remedy: str
) -> None:
    found = diagnose(facts(CLIENT_REFUSED | account, **more))[0]
    assert found.cause == "client_refused"
    assert remedy in found.hint


@pytest.mark.parametrize("reason", ["invalid_client", "unauthorized_client", "invalid_request"])
def test_a_client_id_that_is_missed_among_the_parameters_is_put_there(reason: str) -> None:
    missing = attempt(Outcome.MISCONFIGURED, reason, error_description="Missing client_id")
    account = CLIENT_REFUSED | {"client_id": "c", "client_auth": "basic", "reason": reason}
    found = diagnose(facts(account, attempts=[missing]))[0]
    assert found.cause == "client_id_missing"
    assert """params='{"client_id": "${account.client_id}"}'`""" in found.hint
    none = diagnose(facts(account | {"client_id": None}, attempts=[missing]))[0]
    assert "`refreshd accounts edit acct client_id=ID`" in none.hint


def test_a_name_that_is_not_resolved_is_no_matter_of_the_providers_status_page() -> None:
    lost = attempt(Outcome.RETRY, "dns_failed")
    down = facts(gate=gate(WaitReason.DOWN, "dns_failed"), attempts=[lost])
    failing = facts({"failures": 3}, attempts=[lost])
    for found in (diagnose(down)[0], diagnose(failing)[0]):
        assert "status page" not in found.hint
        assert "`getent hosts acme.example`" in found.hint
    other = facts(gate=gate(WaitReason.DOWN), attempts=[attempt(Outcome.RETRY, "server_error")])
    assert "getent" not in diagnose(other)[0].hint


def test_a_refusal_that_is_not_final_yet_says_when_it_is_asked_again() -> None:
    waits = {"reason": "refusal_to_be_confirmed", "next_refresh_at": NOW + 40}
    refusal = attempt(Outcome.REAUTHORIZE, "invalid_grant", error_description="gone")
    (found,) = diagnose(facts(waits, attempts=[refusal]))
    assert ('It said: "gone". A second try, which can cost nothing here, is made in 40s') in found.message
    assert found.wrong is False
    over = waits | {"status": Status.DEGRADED, "expires_at": NOW - 5}
    assert diagnose(facts(over, attempts=[refusal]))[0].wrong is True


def test_a_scope_that_the_providers_own_entry_sends_is_no_news() -> None:
    assert diagnose(facts({"scope": "read"}, provider=Provider(name="acme", send_scope=True))) == []
