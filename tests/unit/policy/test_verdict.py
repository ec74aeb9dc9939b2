"""What each answer means: the facts about real providers, line by line."""

from __future__ import annotations

from typing import Any

import pytest

from models.answer import Answer, BodyKind, Fault, Verdict
from models.providers.error_rule import ErrorRule
from models.tables.account import RECONFIGURED, Account, Status
from models.token import Secret, TokenResponse
from worker.policy.reasons.passing import NO_TOKEN
from worker.policy.verdicts.row import Row
from worker.policy.verdicts.table import TABLE
from worker.policy.verdicts.verdict import judge, refreshed_before

TOKEN = TokenResponse(Secret("AT"))


def verdict(answer: Answer, *rules: ErrorRule) -> str:
    return judge(answer, rules).verdict.value


def rule(**data: object) -> ErrorRule:
    return ErrorRule.model_validate({"reason": "own_reason", **data})


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_invalid_grant_needs_the_user(status: int) -> None:
    assert judge(Answer(status=status, error="invalid_grant"), ()).reason == "invalid_grant"
    assert verdict(Answer(status=status, error="invalid_grant")) == "reauthorize"


@pytest.mark.parametrize(
    ("status", "error", "description", "fields"),
    [
        (200, "bad_refresh_token", None, {}),  # GitHub
        (400, "BAD_REFRESH_TOKEN", None, {}),  # HubSpot
        (200, "invalid_refresh_token", None, {}),  # Slack
        (200, "token_revoked", None, {}),
        (200, "account_inactive", None, {}),
        (200, "invalid_code", None, {}),  # Zoho
        (403, "unauthorized_client", "refresh_token is invalid", {}),  # Atlassian
        (400, "interaction_required", None, {}),
        (400, "login_required", None, {}),
        (400, "consent_required", None, {}),
        (400, "invalid_grant", None, {"suberror": "bad_token"}),  # Microsoft
        (400, "invalid_request", None, {"suberror": "user_password_expired"}),
        (400, "x", None, {"suberror": "basic_action"}),
        (400, "x", None, {"suberror": "additional_action"}),
        (400, "invalid_grant", None, {"error_subtype": "invalid_rapt"}),  # Google
        (400, "x", None, {"error_subtype": "rapt_required"}),
        (500, "invalid_grant", None, {}),  # CyberSource: the body wins over the status
    ],
)
def test_what_needs_the_user(
    status: int, error: str, description: str | None, fields: dict[str, object]
) -> None:
    answer = Answer(status=status, error=error, error_description=description, fields=fields)
    assert verdict(answer) == "reauthorize"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500, 503])
@pytest.mark.parametrize(
    "error",
    ["invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_request", "invalid_target",
     "bad_client_secret", "invalid_client_id", "invalid_client_secret", "incorrect_client_credentials"],
)  # fmt: skip
def test_what_needs_a_correction_whatever_the_status(status: int, error: str) -> None:
    assert verdict(Answer(status=status, error=error)) == "misconfigured"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404), "no_token_endpoint"),
        (Answer(status=405, body_kind=BodyKind.HTML), "no_token_endpoint"),
        (Answer(status=200, body_kind=BodyKind.HTML), "html_page"),
        (Answer(status=401, body_kind=BodyKind.HTML), "html_page"),
        (Answer(status=302), "redirected"),
        (Answer(status=307, body_kind=BodyKind.HTML), "redirected"),
        (Answer(status=400, error="something_new"), "unknown_error"),
        (Answer(status=401), "client_refused"),
        (Answer(status=418), "refused"),
        (Answer(fault=Fault.CLIENT_CERTIFICATE), "client_certificate_refused"),
        (Answer(fault=Fault.UNBUILDABLE), "request_impossible"),
        (Answer(fault=Fault.NO_PROOF), "dpop_key_unfit"),
        (Answer(fault=Fault.WRONG_KEY), "dpop_key_mismatch"),
        (Answer(status=400, error="invalid_dpop_proof"), "invalid_dpop_proof"),
        (Answer(fault=Fault.NO_CALLBACK), "callback_unknown"),
    ],
)
def test_what_else_needs_a_correction(answer: Answer, reason: str) -> None:
    assert (verdict(answer), judge(answer, ()).reason) == ("misconfigured", reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(fault=Fault.CONNECT), "connection_failed"),
        (Answer(fault=Fault.DNS), "dns_failed"),
        (Answer(fault=Fault.TLS), "tls_failed"),
        (Answer(fault=Fault.TIMEOUT, spent=True), "timed_out"),
        (Answer(fault=Fault.BROKEN, spent=True), "connection_broken"),
        (Answer(fault=Fault.TOO_LARGE), "answer_too_large"),
        (Answer(fault=Fault.NOT_SENT), "not_sent"),
        (Answer(fault=Fault.CALLBACK), "callback_failed"),
        (Answer(fault=Fault.INTERNAL), "internal_error"),
        (Answer(status=408), "timed_out"),
        (Answer(status=500), "server_error"),
        (Answer(status=502, body_kind=BodyKind.HTML), "server_error"),
        (Answer(status=503), "server_error"),
        (Answer(status=599, error="something_new"), "server_error"),
        (Answer(status=400, error="server_error"), "server_error"),
        (Answer(status=400, error="temporarily_unavailable"), "temporarily_unavailable"),
        (Answer(status=400, error="internal_failure"), "server_error"),
        (Answer(status=400, error="use_dpop_nonce"), "dpop_nonce_required"),
        (Answer(status=409), "conflict"),
        (Answer(status=200), "no_token"),
        (Answer(status=200, error="something_new"), "unknown_error"),
        (Answer(), "no_token"),
        (
            Answer(
                status=400,
                error="invalid_grant",
                error_description="Token request is already being processed",
            ),
            "already_being_processed",
        ),
    ],
)
def test_what_passes_by_itself(answer: Answer, reason: str) -> None:
    assert (verdict(answer), judge(answer, ()).reason) == ("retry", reason)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=429),
        Answer(status=429, body_kind=BodyKind.HTML),
        Answer(status=429, error="something_new"),
        Answer(status=429, error="invalid_grant"),
        Answer(status=429, error="invalid_client"),
        Answer(status=503, retry_after_s=0.0),
        Answer(status=200, error="ratelimited"),
        Answer(
            status=200,
            error="Access Denied",
            error_description="You have made too many requests continuously. Please try again after some time.",
        ),
        Answer(
            status=400,
            error="access_denied",
            error_description="Rate limit exceeded: access_token not expired",
        ),
    ],
)
def test_what_is_asked_too_often(answer: Answer) -> None:
    assert verdict(answer) == "rate_limited"


def test_a_wait_is_passed_on_where_something_is_tried_again() -> None:
    assert judge(Answer(status=429, retry_after_s=30.0), ()).retry_after_s == 30.0
    assert judge(Answer(status=500, retry_after_s=30.0), ()).retry_after_s == 30.0
    assert judge(Answer(status=400, error="invalid_grant", retry_after_s=30.0), ()).retry_after_s is None


@pytest.mark.parametrize(
    "odd",
    [
        {"status": 500},
        {"status": 400, "error": "invalid_grant"},
        {"status": 200, "error": "invalid_client", "body_kind": BodyKind.HTML},
        {"fault": Fault.BROKEN, "spent": True},
    ],
)
def test_a_token_is_a_success_whatever_stands_beside_it(odd: dict[str, object]) -> None:
    """Even a provider's own rule does not throw a token away: it is stored first."""
    answer = Answer(token=TOKEN, fields={"code": 1}, **odd)  # type: ignore[arg-type]
    everything = rule(verdict="reauthorize", status=(200, 400, 500), match={})
    assert verdict(answer, everything) == "refreshed"


@pytest.mark.parametrize(
    ("match", "status", "applies"),
    [
        ({"code": 190}, (), True),
        ({"code": "190"}, (), True),
        ({"code": [102, 190]}, (), True),
        ({"code": 19}, (), False),
        ({"deep.list.1.x": True}, (), True),
        ({"deep.list.9.x": True}, (), False),
        ({"deep": "x"}, (), False),
        ({"none": "None"}, (), False),
        ({"text": {"contains": "NOT expired"}}, (), True),
        ({"text": {"contains": "expired."}}, (), False),
        ({"deep": {"contains": "list"}}, (), False),
        ({"deep.list": {"contains": "true"}}, (), False),
        ({"code": 190, "text": "other"}, (), False),
        ({"code": 190}, (400,), True),
        ({"code": 190}, (401,), False),
        ({}, (400,), True),
    ],
)
def test_a_providers_own_rules_come_first(
    match: dict[str, object], status: tuple[int, ...], applies: bool
) -> None:
    fields = {"code": 190, "deep": {"list": [1, {"x": True}]}, "none": None, "text": "is not expired"}
    answer = Answer(status=400, error="invalid_client", fields=fields)
    own = rule(verdict="rate_limited", match=match, status=status)
    judged = judge(answer, (own,))
    assert judged.reason == ("own_reason" if applies else "invalid_client")


def test_a_rule_may_go_by_how_the_body_could_be_read() -> None:
    """Glewlwyd says all in a 400 that has no body."""
    empty = rule(verdict="reauthorize", status=400, body="none")
    assert judge(Answer(status=400), (empty,)).reason == "own_reason"
    assert judge(Answer(status=400, body_kind=BodyKind.JSON), (empty,)).reason == "refused"
    assert judge(Answer(status=401), (empty,)).reason == "client_refused"


def test_the_first_rule_that_applies_counts() -> None:
    rules = (
        rule(verdict="retry", status=500),
        rule(verdict="reauthorize", status=400, reason="first"),
        rule(verdict="misconfigured", status=400, reason="second"),
    )
    assert judge(Answer(status=400), rules).reason == "first"


def test_a_rule_says_nothing_about_a_call_without_an_answer() -> None:
    assert (
        judge(Answer(fault=Fault.CONNECT), (rule(verdict="reauthorize", match={"x": 1}),)).reason
        == "connection_failed"
    )


@pytest.mark.parametrize(
    "data", [{"verdict": "retry"}, {"verdict": "refreshed", "status": 200}, {"verdict": "x", "status": 1}]
)
def test_a_rule_that_makes_no_sense_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        rule(**data)


def test_every_fault_has_a_line_and_the_last_line_takes_the_rest() -> None:
    assert {row.fault for row in TABLE} == {None, *Fault}
    assert TABLE[-1] == Row(verdict=Verdict.RETRY, reason=NO_TOKEN)


def test_a_reason_never_means_two_verdicts() -> None:
    """Events and docs tell what follows by the reason; `unknown_error` alone depends on the status."""
    seen: dict[str, set[Verdict]] = {}
    for row in TABLE:
        seen.setdefault(row.reason, set()).add(row.verdict)
    assert {reason for reason, verdicts in seen.items() if len(verdicts) > 1} <= {"unknown_error"}


@pytest.mark.parametrize(
    ("fields", "before"),
    [
        ({"generation": 2}, True),
        ({"generation": 1}, False),
        ({"generation": 0}, False),
        ({"generation": 7, "config_version": 2}, False),
        ({"generation": 7, "status": Status.ACTIVE, "reason": RECONFIGURED}, False),
        ({"generation": 7, "status": Status.DEGRADED, "reason": "page_instead_of_answer"}, True),
    ],
)
def test_a_success_counts_where_the_configuration_is_still_that_of_then(
    fields: dict[str, Any], before: bool
) -> None:
    assert refreshed_before(Account(id="a", provider="acme", **fields)) is before
