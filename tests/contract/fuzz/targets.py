"""Every target by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.contract.fuzz.answers import CALLBACK_OUTPUTS, TOKEN_RESPONSES
from tests.contract.fuzz.files import ACCOUNTS, SETTINGS
from tests.contract.fuzz.messages import BROKER_MESSAGES, REJECTED_REPORTS
from tests.contract.fuzz.mutation import Target

TARGETS: Final[Mapping[str, Target]] = {
    "accounts": ACCOUNTS,
    "settings": SETTINGS,
    "token-responses": TOKEN_RESPONSES,
    "callback-outputs": CALLBACK_OUTPUTS,
    "broker-messages": BROKER_MESSAGES,
    "rejected-reports": REJECTED_REPORTS,
}
