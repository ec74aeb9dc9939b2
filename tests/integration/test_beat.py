"""Beat's schedule: its intervals go on whatever becomes of the wall clock."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.forked import ran
from worker.crypto.cipher import generate_key

#: Beat as it starts, then another wall clock, as Celery reads it; what each entry says is due, and when to look again.
LOOK = """
import json, sys
from datetime import UTC, datetime, timedelta
from celery.beat import Scheduler
from worker.app import app

entries = Scheduler(app).schedule
set_to = datetime.now(UTC) + timedelta(seconds=float(sys.argv[1]))
app.now = lambda: set_to
print(json.dumps({name: [entry.schedule.seconds, *entry.is_due()] for name, entry in entries.items()}))
"""


@pytest.mark.parametrize("set_s", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_moves_no_interval(redis_url: str, tmp_path: Path, set_s: float) -> None:
    env = os.environ | {
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_DATA_DIR": str(tmp_path),
        "REFRESHD_KEYS": generate_key(),
    }
    looked = ran(["-c", LOOK, str(set_s)], cwd=tmp_path, env=env)
    assert looked.returncode == 0, looked.stderr
    entries = json.loads(looked.stdout)
    assert set(entries) == {"plan", "reconcile", "prune", "webhooks", "expiring", "registrations"}
    for name, (every_s, due, next_s) in entries.items():
        assert not due, name
        assert 0 < next_s <= every_s, name


#: How often beat looks until it has asked for three plans.
COUNT = """
import sys, time
from celery.utils.imports import instantiate
from worker.app import app

scheduler = instantiate(app.conf.beat_scheduler, app)
sent, looks = [], 0
scheduler.apply_async = lambda entry, **_: sent.append(entry.name)
while sent.count("plan") < 3:
    looks += 1
    time.sleep(max(scheduler.tick() or 0, 0))
print(looks)
"""


def test_beat_sleeps_until_an_entry_is_due(redis_url: str, tmp_path: Path) -> None:
    """Celery's own scheduler looks scores of times in the last 10 ms (findings/celery-beat-spins.sh)."""
    env = os.environ | {
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_DATA_DIR": str(tmp_path),
        "REFRESHD_KEYS": generate_key(),
        "REFRESHD_PLAN_INTERVAL_S": "0.2",
    }
    looked = ran(["-c", COUNT], cwd=tmp_path, env=env)
    assert looked.returncode == 0, looked.stderr
    assert int(looked.stdout) < 15
