"""A reason stands once: code, sentence, what users notice, what to do."""

from __future__ import annotations

import ast
import copy
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from models.providers.presets import load_providers
from models.rate_limit import WaitReason
from models.tables.attempt import INTERRUPTED
from refreshd_reader.contract import PAUSED
from worker.policy.reasons import KINDS, REASONS, message_of, reasons_of
from worker.policy.reasons.reason import Reason

ROOT: Final = Path(__file__).parents[3]
#: Where reasons are given.
SOURCES: Final = ("worker/policy", "worker/refresh", "worker/scheduling", "worker/accounts")


def test_a_code_stands_once() -> None:
    codes = Counter(str(reason) for kind in KINDS for reason in reasons_of(kind))
    assert [code for code, times in codes.items() if times > 1] == []


@pytest.mark.parametrize("code", REASONS)
def test_a_reason_has_a_sentence_a_symptom_and_an_action(code: str) -> None:
    reason = REASONS[code]
    assert reason.message[0].isupper() or reason.message.startswith("refreshd")
    assert reason.message.endswith(".")
    assert reason.users_notice
    assert reason.action
    assert "|" not in reason.message + reason.users_notice + reason.action, "a bar ends a table's cell"


def test_reasons_of_the_contract_and_of_presets_are_known() -> None:
    of_presets = {rule.reason for provider in load_providers(None).values() for rule in provider.error_rules}
    assert {*WaitReason, PAUSED, INTERRUPTED, *of_presets} <= REASONS.keys()


def test_a_reason_of_a_providers_file_is_its_own_sentence() -> None:
    assert message_of("token_was_revoked") == "token_was_revoked."


def test_a_reason_is_its_code_wherever_a_text_is_expected() -> None:
    reason = Reason("gone", "It is gone.")
    assert (f"{reason}", json.dumps(reason)) == ("gone", '"gone"')
    for copied in (copy.copy(reason), copy.deepcopy(reason), pickle.loads(pickle.dumps(reason))):  # noqa: S301
        assert (type(copied), copied) == (str, "gone")


def test_no_other_module_defines_a_reason() -> None:
    """A constant that holds a reason's code would be a second place for it."""
    defined = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for source in SOURCES
        for file in sorted((ROOT / source).rglob("*.py"))
        if "reasons" not in file.parts
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and node.value.value in REASONS
    ]
    assert defined == []
