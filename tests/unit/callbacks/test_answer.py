"""What a callback returned, and what becomes of it: each form has one defined outcome."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.answer import Fault, Verdict
from models.callback import CallbackOutput, ErrorResponse
from models.outcome import SAME_ACCESS_TOKEN
from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.token import Secret
from worker.callbacks.host.result import read_value, shown
from worker.policy.verdicts.verdict import judge

TOKEN = {"access_token": "new-access"}


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        pytest.param(None, "it returned None", id="none"),
        pytest.param("new-access", "it returned a text", id="text"),
        pytest.param(["new-access"], "it returned a list", id="list"),
        pytest.param({}, "neither an access_token nor an errorResponse", id="nothing"),
        pytest.param({"access_token": ""}, "an empty access_token and no errorResponse", id="empty"),
        pytest.param({"access_token": "  "}, "an empty access_token and no errorResponse", id="blank"),
        pytest.param({"access_token": ["x"]}, "access_token is a list, a text is expected", id="list-token"),
        pytest.param(
            {"access_token": True}, "access_token is a boolean, a text is expected", id="bool-token"
        ),
        pytest.param({"acces_token": "x"}, "did you mean 'access_token'?", id="misspelt"),
        pytest.param({"errorResponse": {}}, "neither an access_token nor an errorResponse", id="empty-error"),
        pytest.param({"errorResponse": {"error": ""}}, "neither an access_token", id="blank-error"),
    ],
)
def test_no_output_is_a_failed_run_that_says_why(
    returned: Any, words: str, request_of_acme: RefreshRequest
) -> None:
    answer = read_value(returned, request_of_acme).answer

    assert answer.fault is Fault.CALLBACK
    assert answer.fault_detail is not None
    assert words in answer.fault_detail
    assert answer.spent
    judgement = judge(answer, ())
    assert (judgement.verdict, judgement.reason) == (Verdict.RETRY, "callback_failed")


@pytest.mark.parametrize(
    "without",
    [{}, {"token": "AT"}, {"access_token": {"value": "AT"}}, {"access_token": ""}, {"errorResponse": {}}],
    ids=["missing", "misspelt", "of a wrong type", "empty", "an empty errorResponse"],
)
def test_a_new_refresh_token_without_a_usable_access_token_is_not_dropped(without: dict[str, Any]) -> None:
    request = RefreshRequest(
        account_id="acct", provider=Provider(name="acme"), refresh_token=Secret("old-refresh")
    )

    found = read_value({**without, "refresh_token": "new-refresh"}, request)

    assert (found.answer.fault, found.answer.refresh_token) == (Fault.CALLBACK, Secret("new-refresh"))
    assert "new refresh_token" in found.notes[0]
    assert "new-refresh" not in " ".join([*found.notes, str(found.answer.fault_detail)])


@pytest.mark.parametrize(
    "returned",
    [
        {"refresh_token": "old-refresh"},
        {"refresh_token": " "},
        {"refresh_token": ["new-refresh"]},
        {"refresh_token": "old-refresh", "errorResponse": {"error": "invalid_grant"}},
        {"refresh_token": " old-refresh\n", "error": "server_error"},
        {"refresh_token": "old-ref", "error": "server_error"},
        {"refresh_token": "********", "error": "server_error"},
        {"refresh_token": "old-...", "error": "server_error"},
        {"refresh_token": "[REDACTED]", "error": "server_error"},
        {"refresh_token": 5, "error": "server_error"},
        {"refresh_token": ["new-refresh"], "error": "server_error"},
    ],
    ids=[
        "the account's own",
        "blank",
        "no text",
        "the account's own beside an error",
        "with blanks around it",
        "a part of it",
        "a mask",
        "cut short",
        "a word for a mask",
        "a number",
        "a list",
    ],
)
def test_what_is_no_new_refresh_token_is_none(returned: dict[str, Any]) -> None:
    request = RefreshRequest(
        account_id="acct", provider=Provider(name="acme"), refresh_token=Secret("old-refresh")
    )
    assert read_value(returned, request).answer.refresh_token is None


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (
            {"errorResponse": {"error": "temporarily_unavailable"}, "access_token": "new-access"},
            "temporarily_unavailable",
        ),
        ({"errorResponse": {"error": "invalid_grant"}}, "invalid_grant"),
        ({"error": "server_error"}, "server_error"),
    ],
    ids=["beside both tokens", "beside a refusal", "at the top"],
)
def test_a_new_refresh_token_beside_an_error_is_not_dropped(
    returned: dict[str, Any], error: str, request_of_acme: RefreshRequest
) -> None:
    read = read_value({**returned, "refresh_token": "new-refresh"}, request_of_acme)

    assert (read.answer.error, read.answer.token) == (error, None)
    assert read.answer.refresh_token == Secret("new-refresh")
    assert any("its new refresh_token" in note for note in read.notes)
    assert "nothing is stored" not in str(read.notes)
    assert "new-refresh" not in f"{read.notes} {read.answer.fields}"


@pytest.mark.parametrize(
    ("refused", "error", "verdict"),
    [
        ({"error": "invalid_grant"}, "invalid_grant", Verdict.REAUTHORIZE),
        ({"error": "invalid_client", "error_description": "who?"}, "invalid_client", Verdict.MISCONFIGURED),
        ({"error": "slow_down"}, "slow_down", Verdict.RATE_LIMITED),
        ({"error": "temporarily_unavailable"}, "temporarily_unavailable", Verdict.RETRY),
        ({"error": "something of their own"}, "something of their own", Verdict.RETRY),
        ("invalid_grant", "invalid_grant", Verdict.REAUTHORIZE),
        ({"error_description": "no code at all"}, "unspecified", Verdict.RETRY),
        (["odd"], '["odd"]', Verdict.RETRY),
    ],
)
def test_an_error_response_wins_over_a_token_and_goes_through_the_verdict_table(
    refused: Any, error: str, verdict: Verdict, request_of_acme: RefreshRequest
) -> None:
    read = read_value({**TOKEN, "errorResponse": refused}, request_of_acme)

    assert read.answer.token is None
    assert read.answer.error == error
    assert judge(read.answer, ()).verdict is verdict
    assert any("wins over the access_token" in note for note in read.notes)


def test_the_body_of_a_refusal_is_understood_as_the_provider_wrote_it(
    request_of_acme: RefreshRequest,
) -> None:
    answer = read_value({"error": "invalid_grant", "error_description": "revoked"}, request_of_acme).answer
    assert (answer.error, answer.error_description) == ("invalid_grant", "revoked")


def test_a_token_beside_an_unknown_field_named_error_is_stored(request_of_acme: RefreshRequest) -> None:
    read = read_value({**TOKEN, "error": None, "note": "hi"}, request_of_acme)
    assert read.answer.token is not None


def test_an_error_response_keeps_no_secret_of_the_account(request_of_acme: RefreshRequest) -> None:
    refused = {"error": "invalid_grant", "error_description": {"sent": ["old-refresh", "client-secret"]}}
    answer = read_value({"errorResponse": refused}, request_of_acme).answer
    assert answer.error_description == '{"sent": ["[redacted]", "[redacted]"]}'
    assert "old-refresh" not in str(answer.fields)


@pytest.mark.parametrize(
    ("expires_in", "lifetime_s"),
    [
        (3600, 3600), (3600.5, 3600.5), ("3600", 3600), (" 3600 ", 3600), (None, None), ("", None),
        ("3,600", 3600), ("3600s", 3600), ("PT1H", 3600), ("1h30m", 5400), ("01:00:00", 3600), (0, 0),
    ],
)  # fmt: skip
def test_expires_in_is_read_in_the_forms_that_providers_answers_have(
    expires_in: Any, lifetime_s: float | None, request_of_acme: RefreshRequest
) -> None:
    read = read_value({**TOKEN, "expires_in": expires_in}, request_of_acme)
    assert read.answer.token is not None
    assert read.answer.token.expires_in_s == lifetime_s
    assert read.notes == ()


@pytest.mark.parametrize(
    "expires_in",
    [1_795_650_249, "1795650249", 1_795_650_249_000, 1_795_650_249.5, "2026-11-25T23:44:09Z"],
)
def test_a_point_in_time_is_no_lifetime_of_decades(expires_in: Any, request_of_acme: RefreshRequest) -> None:
    read = read_value({**TOKEN, "expires_in": expires_in}, request_of_acme)
    assert read.answer.token is not None
    assert read.answer.token.expires_in_s is None
    assert read.answer.token.expires_at == pytest.approx(1_795_650_249, abs=1)
    assert read.notes == (
        "expires_in is a point in time, a number of seconds is expected: it is read as that point",
    )
    assert "ends at 2026-11-25 " in shown(read.answer, None)


@pytest.mark.parametrize(
    ("field", "odd", "note"),
    [
        ("expires_in", "soon", "expires_in is a text, a number of seconds is expected"),
        ("expires_in", True, "expires_in is a boolean"),
        ("expires_in", float("nan"), "expires_in is a number, a number of seconds"),
        ("refresh_token", {"value": "x"}, "refresh_token is an object, a text is expected"),
        ("token_type", 5, "token_type is a number, a text is expected"),
        ("scope", {"a": 1}, "scope is an object, a text is expected"),
        ("instance_url", "https://x", "'instance_url' is no field of an output and is left out"),
    ],
)
def test_what_is_odd_beside_a_token_is_left_out_and_said(
    field: str, odd: Any, note: str, request_of_acme: RefreshRequest
) -> None:
    read = read_value({**TOKEN, field: odd}, request_of_acme)

    assert read.answer.token is not None
    assert read.answer.token.access_token == Secret("new-access")
    assert read.answer.token.refresh_token is None
    assert any(note in one for one in read.notes)


def test_the_access_token_that_the_account_had_is_stored_and_said(request_of_acme: RefreshRequest) -> None:
    request = replace(request_of_acme, access_token=Secret("new-access"))
    read = read_value({**TOKEN, "expires_in": 3600}, request)

    assert read.answer.token is not None
    assert any(note.startswith(SAME_ACCESS_TOKEN) for note in read.notes)


def test_an_empty_refresh_token_is_an_omitted_one(request_of_acme: RefreshRequest) -> None:
    read = read_value({**TOKEN, "refresh_token": ""}, request_of_acme)
    assert read.answer.token is not None
    assert read.answer.token.refresh_token is None
    assert read.notes == ()


def test_the_end_of_a_line_is_no_part_of_a_token(request_of_acme: RefreshRequest) -> None:
    read = read_value({"access_token": "new-access\n", "refresh_token": " r \n"}, request_of_acme)
    assert read.answer.token is not None
    assert read.answer.token.access_token == Secret("new-access")
    assert read.answer.token.refresh_token == Secret("r")


def test_a_list_of_scopes_is_a_scope(request_of_acme: RefreshRequest) -> None:
    read = read_value({**TOKEN, "scope": ["a", "b"]}, request_of_acme)
    assert read.answer.token is not None
    assert read.answer.token.scope == "a b"


def test_a_field_that_the_provider_publishes_is_published() -> None:
    provider = Provider(name="acme", publish_fields={"instance_url": "instance_url"})
    request = RefreshRequest(account_id="acct", provider=provider)
    read = read_value({**TOKEN, "instance_url": "https://eu.example"}, request)
    assert read.answer.token is not None
    assert read.answer.token.extra == {"instance_url": "https://eu.example"}
    assert read.notes == ()


def test_many_unknown_fields_are_counted_not_listed(request_of_acme: RefreshRequest) -> None:
    notes = read_value({**TOKEN, **{f"field{n}": n for n in range(30)}}, request_of_acme).notes
    assert len(notes) == 6
    assert notes[-1] == "25 more unknown fields are left out"


def test_making_an_output_never_raises_and_loses_nothing() -> None:
    odd: dict[str, Any] = {
        "access_token": "a",
        "expires_in": "soon",
        "scope": ["a"],
        "errorResponse": 5,
        "x": 1,
    }
    assert CallbackOutput(**odd).model_dump(exclude_unset=True, warnings=False) == odd


def test_neither_input_nor_output_shows_a_token() -> None:
    output = CallbackOutput(
        access_token="secret-1", refresh_token="secret-2", errorResponse=ErrorResponse(error="e")
    )
    assert "secret" not in repr(output)


def test_what_was_returned_is_shown_without_it(request_of_acme: RefreshRequest) -> None:
    answer = read_value({**TOKEN, "refresh_token": "new-refresh", "expires_in": 60}, request_of_acme).answer
    words = shown(answer, Secret("old-refresh"))
    assert "new-access" not in words
    assert "new-refresh" not in words
    assert words.startswith("access_token (10 characters, fingerprint ")
    assert "refresh_token (new, 11 characters" in words
    assert "expires_in 60" in words


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["access_token", "refresh_token", "expires_in", "scope", "token_type", "errorResponse", "error"]
)


@given(JSON | st.dictionaries(NAMES | st.text(max_size=6), JSON, max_size=6))
def test_whatever_is_returned_is_read(returned: Any) -> None:
    request = RefreshRequest(
        account_id="a", provider=Provider(name="acme"), refresh_token=Secret("old-refresh")
    )
    answer = read_value(returned, request).answer
    outcomes = [answer.token is not None, answer.error is not None, answer.fault is not None]
    assert outcomes.count(True) == 1
    judge(answer, ())
