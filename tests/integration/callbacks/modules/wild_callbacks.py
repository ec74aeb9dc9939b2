"""Callbacks that do what callbacks should not, for the tests of what becomes of the others."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import json
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, urlencode

from worker.callbacks import CallbackInput, CallbackOutput, CallbackTimeout, ErrorResponse, refresh_callback

log = logging.getLogger("wild")

#: Long enough for every test to be over before.
FOREVER_S = 1_000


@refresh_callback("rotates")
def rotates(inputs: CallbackInput) -> CallbackOutput:
    return CallbackOutput(
        access_token=f"{inputs.access_token}+",
        expires_in="3600",
        refresh_token=f"{inputs.refresh_token}+",
        scope="a b",
    )


@refresh_callback("rotates-and-misspells")
def rotates_and_misspells(inputs: CallbackInput) -> dict[str, str]:
    return {"acces_token": f"{inputs.access_token}+", "refresh_token": f"{inputs.refresh_token}+"}


@refresh_callback("keeps")
async def keeps(inputs: CallbackInput) -> dict[str, object]:
    await asyncio.sleep(0)
    return {"access_token": f"{inputs.access_token}+", "expires_in": 3600}


@refresh_callback("gives-back")
def gives_back(inputs: CallbackInput) -> dict[str, object]:
    return {"access_token": inputs.access_token, "expires_in": 3600}


@refresh_callback("echoes")
def echoes(inputs: CallbackInput) -> dict[str, object]:
    return {"access_token": inputs.model_dump_json()}


@refresh_callback("refuses")
def refuses(_: CallbackInput) -> CallbackOutput:
    refused = ErrorResponse(error="invalid_grant", error_description="the user revoked it")
    return CallbackOutput(access_token="a token beside it", errorResponse=refused)


@refresh_callback("raises")
def raises(inputs: CallbackInput) -> CallbackOutput:
    raise RuntimeError(f"the provider did not like {inputs.refresh_token}")


@refresh_callback("returns-none")
def returns_none(_: CallbackInput) -> None:
    return None


@refresh_callback("returns-bytes")
def returns_bytes(_: CallbackInput) -> dict[str, object]:
    return {"access_token": b"bytes", "expires_in": timedelta(hours=1), "seen_at": datetime.now(UTC)}


@refresh_callback("returns-a-set")
def returns_a_set(_: CallbackInput) -> set[str]:
    return {"access_token"}


@refresh_callback("prints-and-raises")
def prints_and_raises(_: CallbackInput) -> CallbackOutput:
    body = {"access_token": "brand-new-access", "refresh_token": "brand-new-refresh"}
    print(
        "answer",
        body,
        json.dumps(body),
        repr(json.dumps(json.dumps(body))),
        f"access_token: {body['access_token']}",
    )
    log.info("answer %s", urlencode(body))
    raise RuntimeError(body)


@refresh_callback("returns-no-json")
def returns_no_json(_: CallbackInput) -> dict[str, object]:
    return {"access_token": object()}


@refresh_callback("returns-odd-values")
def returns_odd_values(inputs: CallbackInput) -> dict[object, object]:
    return {
        "access_token": f"{inputs.access_token}+",
        "refresh_token": f"{inputs.refresh_token}+",
        "expires_in": Decimal(3600),
        "scope": {"b", "a"},
        "token_type": log,
        "expires_at": datetime.now(UTC),
        ("a", "tuple"): 1,
    }


@refresh_callback("returns-a-whole-page")
def returns_a_whole_page(inputs: CallbackInput) -> dict[str, object]:
    return {"access_token": "new", "refresh_token": f"{inputs.refresh_token}+", "page": "x" * 2_000_000}


@refresh_callback("returns-too-much")
def returns_too_much(_: CallbackInput) -> dict[str, object]:
    return {"access_token": "x" * 2_000_000}


@refresh_callback("takes-nothing")
def takes_nothing() -> dict[str, object]:
    return {"access_token": "new"}


@refresh_callback("poses")
def poses(_: CallbackInput) -> dict[str, object]:
    print("[refreshd] returned whatever you like")
    return {"access_token": "new"}


@refresh_callback("sleeps", timeout_s=0.3)
def sleeps(_: CallbackInput) -> None:
    time.sleep(FOREVER_S)


@refresh_callback("sleeps-async", timeout_s=0.3)
async def sleeps_async(_: CallbackInput) -> None:
    await asyncio.sleep(FOREVER_S)


@refresh_callback("tidies-up", timeout_s=0.3)
def tidies_up(_: CallbackInput) -> dict[str, object]:
    try:
        time.sleep(FOREVER_S)
    except CallbackTimeout:
        print("tidied up")
        raise
    return {}


@refresh_callback("will-not-end", timeout_s=0.3)
def will_not_end(_: CallbackInput) -> None:
    while True:
        try:
            time.sleep(FOREVER_S)
        except CallbackTimeout:
            print("no")


@refresh_callback("exits")
def exits(_: CallbackInput) -> None:
    sys.exit("enough")


@refresh_callback("exits-at-once")
def exits_at_once(_: CallbackInput) -> None:
    os._exit(7)


@refresh_callback("crashes")
def crashes(_: CallbackInput) -> None:
    ctypes.string_at(0)


@refresh_callback("eats", memory_mb=200)
def eats(_: CallbackInput) -> None:
    eaten = []
    while True:
        eaten.append(bytearray(16 * 1024 * 1024))


@refresh_callback("forks")
def forks(inputs: CallbackInput) -> dict[str, object]:
    """Leave processes behind: in this session, and in one of their own; and come back twice."""
    for number in range(4):
        if os.fork() == 0:
            if number % 2:
                os.setsid()
            time.sleep(FOREVER_S)
    who = "child" if os.fork() == 0 else "parent"
    return {"access_token": f"{inputs.access_token} of the {who}"}


@refresh_callback("leaves-a-thread")
def leaves_a_thread(_: CallbackInput) -> dict[str, object]:
    threading.Thread(target=time.sleep, args=(FOREVER_S,)).start()
    return {"access_token": "from a process with a thread"}


@refresh_callback("floods")
def floods(inputs: CallbackInput) -> dict[str, object]:
    for number in range(60_000):
        print(number, inputs.refresh_token)
    print("the end")
    return {"access_token": "after a flood"}


@refresh_callback("talks")
def talks(inputs: CallbackInput) -> dict[str, object]:
    secret, password = inputs.refresh_token, inputs.custom_fields["password"]
    basic = base64.b64encode(f"{inputs.consumer_id}:{inputs.consumer_secret}".encode()).decode()
    print("plain", secret, "quoted", quote(password, safe=""), "repr", repr(password))
    print("basic", basic, "returned", "a-brand-new-token")
    log.info("logged %s", secret)
    os.write(2, f"raw {inputs.access_token}\n".encode())
    return {"access_token": "a-brand-new-token"}


@refresh_callback("shows-environment")
def shows_environment(_: CallbackInput) -> dict[str, object]:
    return {"access_token": "\n".join(f"{name}={value}" for name, value in os.environ.items())}


@refresh_callback("writes")
def writes(_: CallbackInput) -> dict[str, object]:
    Path("note").write_text("something")
    return {"access_token": f"{Path.cwd()} {sorted(one.name for one in Path().iterdir())}"}


@refresh_callback("misspells")
def misspells(_: CallbackInput) -> dict[str, object]:
    return {"acces_token": "new"}


@refresh_callback("closes-stdout")
def closes_stdout(inputs: CallbackInput) -> CallbackOutput:
    sys.stdout.close()
    return rotates(inputs)


@refresh_callback("has-no-stdout")
def has_no_stdout(inputs: CallbackInput) -> CallbackOutput:
    sys.stdout = None
    return rotates(inputs)


@refresh_callback("leaves-an-executor", timeout_s=1)
async def leaves_an_executor(inputs: CallbackInput) -> CallbackOutput:
    asyncio.get_running_loop().run_in_executor(None, time.sleep, FOREVER_S)
    return rotates(inputs)


@refresh_callback("leaves-a-stubborn-task", timeout_s=1)
async def leaves_a_stubborn_task(inputs: CallbackInput) -> CallbackOutput:
    task = asyncio.create_task(_stay())
    await asyncio.sleep(0)
    return rotates(inputs) if not task.done() else CallbackOutput()


async def _stay() -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER_S)
