"""Callbacks that say all that they know, in every way that Python has."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

from worker.callbacks import CallbackInput, refresh_callback


def tell(inputs: CallbackInput) -> None:
    """Print and log everything, in every spelling."""
    told = inputs.model_dump_json()
    secrets = [
        inputs.access_token,
        inputs.refresh_token,
        inputs.consumer_secret,
        *inputs.custom_fields.values(),
    ]
    for secret in secrets:
        print(
            secret,
            quote(secret),
            repr(secret),
            base64.b64encode(secret.encode()).decode(),
            json.dumps(secret),
        )
    print(told, file=sys.stderr)
    print(inputs)
    print(dict(os.environ))
    logging.getLogger("leaky").error("inputs %r", inputs)
    logging.getLogger("leaky").info("inputs", extra={"inputs": told})
    warnings.warn(told, stacklevel=1)


@refresh_callback("tells")
def tells(inputs: CallbackInput) -> dict[str, Any]:
    tell(inputs)
    new: dict[str, Any] = json.loads(Path(os.environ["PLANTED_FILE"]).read_text())
    print(new)
    return new


@refresh_callback("raises-told")
def raises_told(inputs: CallbackInput) -> None:
    tell(inputs)
    known = inputs.model_dump()
    try:
        int(inputs.refresh_token)
    except ValueError as error:
        raise RuntimeError(f"{known} and {quote(inputs.refresh_token)}") from error


@refresh_callback("prints-new")
def prints_new(_: CallbackInput) -> None:
    new: dict[str, Any] = json.loads(Path(os.environ["PLANTED_FILE"]).read_text())
    print(new, json.dumps(new))
    logging.getLogger("leaky").info("new %s", new)
    raise RuntimeError(new)


@refresh_callback("refuses-told")
def refuses_told(inputs: CallbackInput) -> dict[str, Any]:
    words = inputs.model_dump_json()
    return {"errorResponse": {"error": "invalid_grant", "error_description": words, "error_uri": words}}


@refresh_callback("returns-told")
def returns_told(inputs: CallbackInput) -> dict[str, Any]:
    return {
        "access_token": [inputs.model_dump_json()],
        "expires_in": inputs.refresh_token,
        "more": inputs.refresh_token,
    }
