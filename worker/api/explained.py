"""`explain` as an answer of the API: beside a command, advice names the call that does the same."""

from __future__ import annotations

import re
from typing import Any, Final

#: What a call waits for the outcome, where the command has `--wait`.
_WAIT_S: Final = 20


def with_calls(page: dict[str, Any]) -> dict[str, Any]:
    """Return an explanation whose hints name the call beside the command that refreshes this account."""
    account = page["account"]
    command = re.compile(rf"`refreshd refresh {re.escape(account)} --force( --wait)?`")

    def with_call(found: re.Match[str]) -> str:
        body = f'{{"force": true, "wait_s": {_WAIT_S}}}' if found[1] else '{"force": true}'
        return f"{found[0]} (here: `POST /v1/accounts/{account}/refresh`, `{body}`)"

    findings = [
        {**one, **{name: command.sub(with_call, one[name]) for name in ("hint", "remedy")}}
        for one in page["findings"]
    ]
    return {**page, "findings": findings}
