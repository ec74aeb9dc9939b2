"""The skeleton of a callback: a module and its test, ready to be run and changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from msgspec import Struct

from models.callback import CALLBACK_NAME
from worker.errors import UsageError

_CALLBACK: Final = '''"""Refreshes the tokens of NAME's accounts: a callback for refreshd (docs/callbacks.md)."""

from __future__ import annotations

import httpx

from worker.callbacks import CallbackInput, CallbackOutput, ErrorResponse, refresh_callback

# Made once; every run starts as a copy of this process. Don't open connections here.
client = httpx.Client(timeout=10)


@refresh_callback("NAME", timeout_s=20)
def refresh(inputs: CallbackInput) -> CallbackOutput:
    """Ask the provider for a new token.

    Whatever you print or log is kept in the account's history, without secrets. An exception is a failed run that
    is tried again later. What the account does not have is an empty text.
    """
    response = client.post(
        inputs.access_token_refresh_url,  # the account's token_url
        auth=(inputs.consumer_id, inputs.consumer_secret),  # its client_id and client_secret
        headers={"X-Tenant": inputs.custom_fields.get("tenant", "")},  # its custom_fields
        json={"grant_type": "refresh_token", "refresh_token": inputs.refresh_token},
    )
    if response.is_server_error:
        response.raise_for_status()  # an outage, mostly told by a page that is no JSON
    body = response.json()

    # A refusal. `invalid_grant` takes the account out of the plan until its owner logs in again; what every other
    # code means, docs/verdicts.md says. It wins over an access token beside it.
    if "error" in body:
        refused = ErrorResponse(error=body["error"], error_description=body.get("error_description"))
        return CallbackOutput(errorResponse=refused)
    response.raise_for_status()

    # What is stored, published to connectors, and given to the next run.
    return CallbackOutput(
        access_token=body["access_token"],
        expires_in=body.get("expires_in"),  # seconds, a number or a text; None: unknown
        refresh_token=body.get("refresh_token"),  # None: the old one stays
        token_type=body.get("token_type"),
        scope=body.get("scope"),
    )
'''

_TEST: Final = '''"""The provider is scripted, the callback is real: `python -m pytest test_MODULE.py`."""

from __future__ import annotations

import json

import httpx
import MODULE
import pytest

from worker.callbacks import CallbackInput

INPUTS = CallbackInput(
    account_id="test",
    access_token="old-access",
    consumer_id="client",
    consumer_secret="secret",
    refresh_token="old-refresh",
    access_token_refresh_url="https://provider.example/token",
    custom_fields={"tenant": "eu"},
)


def provider(monkeypatch: pytest.MonkeyPatch, status: int, body: object) -> list[httpx.Request]:
    """Script the provider's answer; returns the requests that it gets. A text is a page that is no JSON."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if isinstance(body, str):
            return httpx.Response(status, text=body)
        return httpx.Response(status, json=body)

    monkeypatch.setattr(MODULE, "client", httpx.Client(transport=httpx.MockTransport(answer)))
    return seen


def test_a_new_token(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = provider(monkeypatch, 200, {"access_token": "new", "expires_in": 3600, "refresh_token": "next"})

    output = MODULE.refresh(INPUTS)

    assert (output.access_token, output.expires_in, output.refresh_token) == ("new", 3600, "next")
    (request,) = seen
    assert json.loads(request.content) == {"grant_type": "refresh_token", "refresh_token": "old-refresh"}
    assert request.headers["x-tenant"] == "eu"


def test_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    provider(monkeypatch, 400, {"error": "invalid_grant", "error_description": "revoked"})

    output = MODULE.refresh(INPUTS)

    assert output.errorResponse is not None
    assert output.errorResponse.error == "invalid_grant"


def test_an_outage_is_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    provider(monkeypatch, 503, "<html>Service unavailable</html>")

    with pytest.raises(httpx.HTTPStatusError):
        MODULE.refresh(INPUTS)
'''

_NEXT: Final = """Next:
  1. change {callback} to what the provider wants; `pip install pytest` once, then
     `python -m pytest {test}` runs its test
  2. have the callback worker import it: PYTHONPATH={folder} REFRESHD_CALLBACK_MODULES={module}
     (add it to what is listed there), and restart the worker; later changes of the file need no restart
  3. `refreshd callbacks list` shows it
  4. name it in an account, and try it; nothing is stored without --apply:
       refreshd accounts edit ACCOUNT callback={name}
       refreshd callbacks test {name} --account ACCOUNT
  5. `refreshd accounts edit ACCOUNT refresh_method=callback`: from now on it is what refreshes the account"""


class Written(Struct, frozen=True):
    """Two files, and what to do with them."""

    callback: Path
    test: Path
    next_steps: str


def write_skeleton(name: str, folder: Path) -> Written:
    """Write the module and its test.

    Raises:
        UsageError: the name is unfit, the folder is none, or one of the files is there.
    """
    if not CALLBACK_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a callback: 1 to 64 letters, digits, . _ -")
    module = re.sub(r"\W", "_", name).lower() + "_callback"
    module = f"the_{module}" if module[0].isdigit() else module
    files = {folder / f"{module}.py": _CALLBACK, folder / f"test_{module}.py": _TEST}
    for file in files:
        if file.exists():
            raise UsageError(f"{file} is there already, and stays as it is")
    try:
        for file, text in files.items():
            file.write_text(text.replace("NAME", name).replace("MODULE", module), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error.strerror}") from None
    callback, test = files
    steps = _NEXT.format(callback=callback, test=test, folder=folder.absolute(), module=module, name=name)
    return Written(callback, test, steps)
