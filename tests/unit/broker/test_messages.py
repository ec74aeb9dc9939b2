"""Task messages: what passes, what is refused and why, and what a signature covers."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from worker.broker.messages import (
    BODY_MAX_BYTES,
    FORGED,
    KEY_UNKNOWN,
    MALFORMED,
    SIGNATURE,
    SIGNATURE_EXPIRED,
    SIGNATURE_VALID_S,
    UNSIGNED,
    RefusedMessage,
    Signer,
    check_shape,
)
from worker.crypto.cipher import generate_key
from worker.errors import SettingsError

NOW: Final = 1_800_000_000.0
OLD, NEW = generate_key("old"), generate_key("new")
BODY: Final = json.dumps(
    [[], {"accounts": [["acct", 1]], "reason": "planned"}, {"callbacks": None, "chain": None}]
)


def headers(**changed: Any) -> dict[str, Any]:
    """Return what Celery writes, with something changed."""
    usual: dict[str, Any] = {
        "lang": "py", "task": "refreshd.refresh", "id": "6a3c", "shadow": None, "eta": None, "group": None,
        "expires": "2027-01-15T08:01:00+00:00", "retries": 0, "timelimit": [None, None], "root_id": "6a3c",
        "parent_id": None, "argsrepr": "()", "kwargsrepr": "{}", "origin": "gen1@host", "ignore_result": True,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    return {**usual, **changed}


def reason_of(given: dict[str, Any], body: str | bytes = BODY, content_type: str = "application/json") -> str:
    with pytest.raises(RefusedMessage) as raised:
        check_shape(given, body, content_type)
    return raised.value.reason


def test_a_message_of_ours_passes() -> None:
    check_shape(headers(), BODY, "application/json")
    check_shape(headers(), BODY.encode(), "application/json")
    check_shape({"task": "refreshd.plan", "id": "x"}, "[[], {}, null]", "application/json")


@pytest.mark.parametrize(
    "changed",
    [
        {"task": "celery.map"},
        {"task": None},
        {"id": None},
        {"id": ["x"]},
        {"id": "x" * 1000},
        {"eta": "2099-01-01T00:00:00Z"},
        {"expires": 5},
        {"retries": [[]]},
        {"retries": True},
        {"timelimit": {"a": 1}},
        {"timelimit": ["soon", None]},
        {"timelimit": [-1, None]},
        {"shadow": {}},
        {"kwargsrepr": "x" * 100_000},
        {"group": 7},
        {"ignore_result": {"a": 1}},
        {"stamps": [1]},
    ],
)
def test_a_header_that_none_of_ours_has_is_refused(changed: dict[str, Any]) -> None:
    assert reason_of(headers(**changed)) == MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "null", "{}", "[]", "[[], {}]", "[null, {}, {}]", "[[], [], {}]", "[[], {}, []]", "[" * 100_000,
        '[[], {}, {"callbacks": [{"task": "refreshd.prune"}]}]', '[[], {}, {"chain": [1]}]', b"\xff\xfe\x00",
        "[[], {}, {}]" + " " * BODY_MAX_BYTES,
    ],
    ids=lambda body: repr(body[:40]),
)  # fmt: skip
def test_a_body_that_none_of_ours_has_is_refused(body: str | bytes) -> None:
    assert reason_of(headers(), body) == MALFORMED


def test_a_pickle_is_not_looked_into() -> None:
    assert reason_of(headers(), b"\x80\x04.", "application/x-python-serialize") == MALFORMED


def signed(signer: Signer, body: str = BODY, **changed: Any) -> dict[str, Any]:
    given = headers(**changed)
    return {**given, SIGNATURE: signer.sign(given, body, now=NOW)}


def refused(signer: Signer, given: dict[str, Any], body: str | bytes = BODY, now: float = NOW) -> str:
    with pytest.raises(RefusedMessage) as raised:
        signer.verify(given, body, now=now)
    return raised.value.reason


def test_the_first_key_signs_and_all_verify_so_that_keys_rotate() -> None:
    by_old = signed(Signer.of(OLD))
    Signer.of(f"{NEW},{OLD}").verify(by_old, BODY.encode(), now=NOW + SIGNATURE_VALID_S)
    Signer.of(f"{OLD},{NEW}").verify(signed(Signer.of(f"{NEW},{OLD}")), BODY, now=NOW)

    assert refused(Signer.of(NEW), by_old) == KEY_UNKNOWN


def test_what_redis_adds_to_a_redelivered_message_changes_nothing() -> None:
    signer = Signer.of(OLD)
    signer.verify({**signed(signer), "redelivered": True}, BODY, now=NOW)


@pytest.mark.parametrize(
    ("changed", "body", "reason"),
    [
        pytest.param({SIGNATURE: None}, BODY, UNSIGNED, id="unsigned"),
        pytest.param({"task": "refreshd.prune"}, BODY, FORGED, id="another task"),
        pytest.param({"id": "other"}, BODY, FORGED, id="another id"),
        pytest.param({"expires": None}, BODY, FORGED, id="no end"),
        pytest.param({"added": 1}, BODY, FORGED, id="one header more"),
        pytest.param({}, BODY.replace("acct", "other"), FORGED, id="another account"),
        pytest.param({SIGNATURE: "v1.old.9999999999999.x"}, BODY, FORGED, id="no digits"),
        pytest.param({SIGNATURE: "v1.old.2000000000.00"}, BODY, FORGED, id="another digest"),
        pytest.param({SIGNATURE: "v1.old.\u0662.00"}, BODY, FORGED, id="other digits"),
        pytest.param({SIGNATURE: ["v1"]}, BODY, FORGED, id="no text"),
        pytest.param({SIGNATURE: "." * 1_000_000}, BODY, FORGED, id="dots"),
        pytest.param({SIGNATURE: "v1.\udc80.1.\udc80"}, BODY, KEY_UNKNOWN, id="half a character"),
    ],
)
def test_whatever_was_changed_is_refused(changed: dict[str, Any], body: str, reason: str) -> None:
    signer = Signer.of(OLD)
    assert refused(signer, {**signed(signer), **changed}, body) == reason


def test_a_signature_ends_and_its_end_can_not_be_moved() -> None:
    signer = Signer.of(OLD)
    given = signed(signer)
    assert refused(signer, given, now=NOW + SIGNATURE_VALID_S + 1) == SIGNATURE_EXPIRED
    version, key_id, until, digest = given[SIGNATURE].split(".")
    moved = {**given, SIGNATURE: ".".join([version, key_id, str(int(until) + 999), digest])}
    assert refused(signer, moved) == FORGED


def test_a_key_that_is_none_is_named_by_its_setting() -> None:
    with pytest.raises(SettingsError, match=r"REFRESHD_MESSAGE_KEYS, key 1 \(m1\): has 3 bytes"):
        Signer.of("m1:AAAA")
