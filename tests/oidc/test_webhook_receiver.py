"""The receiver in docs/events.md that is written for Node.js takes what refreshd sends, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import httpx
import pytest
from pydantic import SecretStr

from tests.integration.conftest import Bench
from tests.integration.notifications.conftest import SECRET, webhook_settings
from tests.integration.notifications.test_webhook_sender import revoked
from tests.support.fleet import ROOT
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

#: Node looks for packages beside the file that imports them.
FILE: Final = Path(__file__).parent / "node_modules" / "receiver.mjs"


@pytest.fixture
def receiver() -> Iterator[tuple[str, IO[str]]]:
    """Run the page's program; returns its address, and what it says."""
    (program,) = re.findall(
        r"^```js\n(.*?)^```$", (ROOT / "docs/events.md").read_text(), re.DOTALL | re.MULTILINE
    )
    FILE.write_text(program)
    node = shutil.which("node")
    assert node is not None
    port = free_port()
    process = subprocess.Popen(
        [node, FILE],
        env={**os.environ, "REFRESHD_WEBHOOK_SECRET": SECRET, "PORT": str(port)},
        stdout=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}/"

    def refuses_what_is_not_signed() -> bool:
        try:
            return httpx.post(url, content=b"{}", trust_env=False).status_code == 401
        except httpx.TransportError:
            assert process.poll() is None, "the receiver ended"
            return False

    try:
        wait_until(refuses_what_is_not_signed, "it refuses what is not signed")
        assert process.stdout is not None
        yield url, process.stdout
    finally:
        process.kill()
        process.communicate()
        FILE.unlink()


def test_it_takes_a_delivery(
    receiver: tuple[str, IO[str]], sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    url, said = receiver
    bench = Bench(
        webhook_settings(
            sqlite_url, redis_url, tmp_path, webhook_url=SecretStr(url), allow_http_hosts=("127.0.0.1",)
        )
    )
    try:
        bench.add("acme-1")
        bench.answer = revoked
        bench.refresh("acme-1")
        told = bench.runtime.run(bench.runtime.webhook_sender.tell())
    finally:
        bench.runtime.close()
    assert told is not None
    assert (told.delivered, told.failed) == (1, 0)
    assert said.readline().split() == ["reauthorize", "acme-1", "invalid_grant"]
