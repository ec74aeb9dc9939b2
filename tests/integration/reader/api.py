"""An HTTP API on loopback that takes some tokens and refuses all others, and a worker that answers reports."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.integration.reader.publisher import Publisher
from tests.support.waiting import wait_until


class Api:
    """An HTTP server that takes the tokens of `good`, and redirects `/away` to another name of itself."""

    def __init__(self) -> None:
        self.good: set[str] = set()
        self.refusal = 401
        self.requests: list[tuple[str | None, bytes]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization")
                api.requests.append((authorization, self._body()))
                if self.path == "/away":
                    self._answer(302, location=f"http://localhost:{api.port}/")
                elif (authorization or "").removeprefix("Bearer ") in api.good:
                    self._answer(200)
                else:
                    self._answer(api.refusal)

            do_POST = do_GET  # noqa: N815 - the name that http.server looks for

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _answer(self, status: int, location: str | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "2")
                if location:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(b"no")

            def log_message(self, *_: Any) -> None:
                """Keep the test's output clean."""

        return Handler


@contextmanager
def rotating(publisher: Publisher, generation: int, account: str = "acct-1") -> Iterator[None]:
    """Publish the next generation as soon as the current one is reported, as the workers do."""

    def work() -> None:
        # The client's own time-out is shorter than a busy machine takes to start a program.
        wait_until(lambda: bool(publisher.client.exists(publisher.keys.rejected)), "a report")
        publisher.publish(account, generation)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
