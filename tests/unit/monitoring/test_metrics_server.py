"""Which workers serve metrics, and what a worker that can't serve them logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.server_process import free_port
from worker.log import configure_logging
from worker.monitoring.metrics_server import serve_metrics
from worker.settings import Settings


def test_a_worker_that_counts_in_several_processes_serves_nothing_and_logs_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO")
    settings = Settings(
        data_dir=tmp_path, redis_url=SecretStr("redis://127.0.0.1:1/0"), metrics_port=free_port()
    )

    serve_metrics(settings, in_one_process=False)

    logged = "".join(capfd.readouterr())
    assert "metrics_not_served" in logged
    assert "run this worker with -P threads" in logged
    assert "metrics_served" not in logged
