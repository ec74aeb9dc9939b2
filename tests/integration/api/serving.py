"""The API on a real port of this machine, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.support.waiting import wait_until
from worker.api.server import config_of, listening
from worker.settings.api import ApiSettings


@contextmanager
def served(app: Any, settings: ApiSettings) -> Iterator[str]:
    """Serve an application; yield its URL."""
    listener = listening("127.0.0.1", 0)
    server = uvicorn.Server(config_of(app, settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, "the API serves")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
