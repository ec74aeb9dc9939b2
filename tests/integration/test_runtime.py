"""A process that can't begin its work leaves nothing behind, and its tasks say so in words."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from tests.support.services import free_port
from worker.crypto.cipher import generate_key
from worker.errors import DatabaseUnreachable, RefreshdError, SettingsError
from worker.runtime import Runtime
from worker.settings import Settings

#: Every task, as a worker would run it, and how it ended.
EVERY_TASK = """
import json, tasks
from worker.app import app

def ended(name, **arguments):
    try:
        return ["done", str(app.tasks[name](**arguments))]
    except Exception as error:
        return [type(error).__name__, str(error)]

takes = {"refreshd.refresh", "refreshd.intake"}
names = [name for name in app.tasks if name.startswith("refreshd.") and name not in takes]
found = {name: ended(name) for name in names}
found["refreshd.intake"] = ended("refreshd.intake", request="h1.k.AAAA", request_id="0123456789abcdef")
found["refreshd.refresh"] = ended("refreshd.refresh", accounts=[["one", 3], ["two", 4]])
print(json.dumps(found))
"""


def nobodys_database() -> str:
    return f"postgresql://nobody:secret@127.0.0.1:{free_port()}/none"


def settings_of(
    database_url: str, redis_url: str, data_dir: Path, *, providers: Path | None = None
) -> Settings:
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=data_dir,
        providers_file=providers,
    )


def left_behind(settings: Settings, error: type[RefreshdError]) -> tuple[int, int]:
    """Fail to begin a few times; returns the event loops' threads and the descriptors that are more than before."""

    def count() -> tuple[int, int]:
        loops = sum(thread.name == "refreshd-loop" for thread in threading.enumerate())
        return loops, len(list(Path("/dev/fd").iterdir()))

    before = count()
    for _ in range(5):
        with pytest.raises(error):
            Runtime(settings)
    after = count()
    return after[0] - before[0], after[1] - before[1]


def test_a_start_without_its_database_leaves_no_thread_and_no_descriptor(
    redis_url: str, tmp_path: Path
) -> None:
    loops, descriptors = left_behind(
        settings_of(nobodys_database(), redis_url, tmp_path), DatabaseUnreachable
    )
    assert loops == 0
    assert descriptors < 5, "less than one a start"


def test_a_start_that_fails_later_on_leaves_none_either(
    sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    providers = tmp_path / "providers.yaml"
    providers.write_text("- no provider\n")
    loops, descriptors = left_behind(
        settings_of(sqlite_url, redis_url, tmp_path, providers=providers), SettingsError
    )
    assert loops == 0
    assert descriptors < 5, "less than one a start"


def test_every_task_of_a_process_without_its_database_is_tried_again_in_words(
    redis_url: str, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "REFRESHD_DATABASE_URL": nobodys_database(),
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_KEYS": generate_key(),
        "REFRESHD_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [sys.executable, "-c", EVERY_TASK], env=environment, capture_output=True, text=True, check=True
    )

    found = json.loads(done.stdout.splitlines()[-1])

    assert {name: ended for name, (ended, _) in found.items()} == dict.fromkeys(found, "Retry")
    assert len(found) == 8
    assert "can't be used" in found["refreshd.plan"][1]
    assert "one not_sent: database_unreachable" in found["refreshd.refresh"][1]


def test_whatever_redis_is_to_be_told_it_is_told_before_its_connections_are_closed(bench: Bench) -> None:
    bench.add()
    bench.answer = granted
    bench.refresh()

    async def left() -> int:
        return len(asyncio.all_tasks()) - 1

    bench.runtime.run(bench.runtime._finish())

    assert bench.runtime.run(left()) == 0
