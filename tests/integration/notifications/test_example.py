"""examples/webhooks/receiver.py as it stands: it takes what refreshd sends, once, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx
import pytest
from pydantic import SecretStr

from tests.integration.conftest import Bench
from tests.integration.notifications.conftest import SECRET, webhook_settings
from tests.integration.notifications.test_webhook_sender import revoked
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

RECEIVER = Path(__file__).parents[3] / "examples/webhooks/receiver.py"


@pytest.fixture
def receiver() -> Iterator[tuple[str, IO[str]]]:
    port = free_port()
    environment = {**os.environ, "REFRESHD_WEBHOOK_SECRET": SECRET}
    process = subprocess.Popen(
        [sys.executable, RECEIVER, str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    url = f"http://127.0.0.1:{port}/"

    def listens() -> bool:
        try:
            return httpx.post(url, content=b"{}").status_code == 401
        except httpx.TransportError:
            return False

    try:
        wait_until(listens, "the receiver refuses what is not signed", 30)
        assert process.stdout is not None
        yield url, process.stdout
    finally:
        process.kill()
        process.communicate()


def test_it_takes_what_refreshd_sends_and_tells_it_once(
    receiver: tuple[str, IO[str]], sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    url, said = receiver
    settings = webhook_settings(
        sqlite_url, redis_url, tmp_path, webhook_url=SecretStr(url), allow_http_hosts=("127.0.0.1",)
    )
    bench = Bench(settings)
    try:
        for account in ("acme-1", "acme-2"):
            bench.add(account)
        bench.answer = revoked
        bench.refresh("acme-1")
        told = bench.runtime.run(bench.runtime.webhook_sender.tell())
        assert told is not None
        assert told.delivered == 1
        with bench.runtime.engine.begin() as connection:  # as after a crash before the delivery was noted
            connection.exec_driver_sql("UPDATE webhook SET delivered_at = NULL, next_at = 0")
        bench.refresh("acme-2")
        again = bench.runtime.run(bench.runtime.webhook_sender.tell())
        assert again is not None
        assert again.delivered == 2
    finally:
        bench.runtime.close()

    lines = [said.readline(), said.readline()]
    assert [line.split(": ")[:2] for line in lines] == [["reauthorize", "acme-1"], ["reauthorize", "acme-2"]]
