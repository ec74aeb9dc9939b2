"""A real receiver of webhooks: it keeps what it was sent, and answers when a test lets it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from tests.integration.notifications.conftest import SECRET


class Receiver:
    """What came, verified, in the order in which it came: (webhook-id, body)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.came: list[tuple[str, str]] = []
        self.answering = threading.Event()

    def take(self, headers: dict[str, str], body: bytes) -> None:
        Webhook(SECRET).verify(body, headers)
        self.came.append((headers["webhook-id"], body.decode()))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
            receiver.answering.wait()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()
