"""Callbacks that hang until they are let go: ten that sleep, ten that spin. For `benchmarks.callbacks`."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Final

from worker.callbacks import CallbackInput, CallbackOutput, refresh_callback

HANGING: Final = 10
KINDS: Final = ("sleep", "spin")
#: As long as this file is there, they hang.
HOLD: Final = "hold"
_FOLDER: Final = Path(os.environ.get("BENCH_FOLDER", "."))


def hang(inputs: CallbackInput, *, spins: bool) -> CallbackOutput:
    running = _FOLDER / f"{inputs.account_id}.running"
    running.touch()
    while (_FOLDER / HOLD).exists():
        if spins:
            sum(range(1_000_000))
        else:
            time.sleep(0.1)
    running.unlink()
    return CallbackOutput(access_token="a token at last", expires_in=3600)


for _number in range(HANGING):
    for _kind in KINDS:
        # Each a callback of its own: one that hangs opens no breaker of another.
        refresh_callback(f"{_kind}-{_number}", timeout_s=1_000)(partial(hang, spins=_kind == "spin"))
