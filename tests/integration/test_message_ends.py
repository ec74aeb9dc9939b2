"""Messages end by one clock for all: a wall clock that is an hour off, or is set while a process runs, drops none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.broker.queues import MESSAGE_EXPIRES_S
from worker.clock import SharedClock
from worker.crypto.cipher import generate_key

#: A process whose wall clock is set after its first look at Redis'; the end of what it sends, and what it takes for ended.
LOOK = """
import json, sys, time
from datetime import UTC, datetime
from types import SimpleNamespace
from worker.app import app, settings
from tasks._request import TaskRequest
from worker.monitoring.clocks import watch_clock
import kombu.transport.redis

watch_clock("this").stop()
real, by = time.time(), float(sys.argv[1])
time.time = lambda: real + by
app.send_task("refreshd.prune", queue="control", expires=60)
_, raw = app.connection_for_read().default_channel.client.brpop("control")
end = datetime.fromisoformat(json.loads(raw)["headers"]["expires"])

def ended(at):
    return bool(TaskRequest.maybe_expire(SimpleNamespace(id="x", expires=at)))

kombu_off = kombu.transport.redis.time() - real
old = datetime.fromtimestamp(real - 1, UTC)
print(json.dumps([end.timestamp() - real, ended(end), ended(old), kombu_off]))
"""


@pytest.mark.parametrize("by", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_while_a_process_runs_drops_no_message(
    redis_url: str, tmp_path: Path, by: float
) -> None:
    env = os.environ | {
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_DATA_DIR": str(tmp_path),
        "REFRESHD_KEYS": generate_key(),
    }
    looked = subprocess.run(
        [sys.executable, "-c", LOOK, str(by)], env=env, capture_output=True, text=True, check=True
    )
    ends_in_s, ended, old_ended, kombu_off_s = json.loads(looked.stdout)
    assert ends_in_s == pytest.approx(MESSAGE_EXPIRES_S, abs=15)
    assert not ended
    assert old_ended
    assert kombu_off_s == pytest.approx(0, abs=15)


def test_the_time_of_another_server_counts_until_the_shared_one_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = SharedClock()
    wall = time.time() + 3600
    monkeypatch.setattr("worker.clock.time.time", lambda: wall)
    assert shared.now() == wall
    shared.begin(1000.0)
    assert shared.now() == pytest.approx(1000, abs=15)
    shared.set(5000.0)
    shared.begin(1000.0)
    assert shared.now() == pytest.approx(5000, abs=15)
