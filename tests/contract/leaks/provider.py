"""A provider that tells everybody what it was told: in errors, in bodies, in every spelling. It is never refreshd's."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tests.contract.leaks.markers import Markers


class Answers:
    """What is answered at each path."""

    def __init__(self, markers: Markers) -> None:
        self._markers = markers

    def tokens(self, account: str) -> dict[str, Any]:
        plant = self._markers.text
        return {
            "access_token": plant(f"published_{account}"),
            "refresh_token": plant(f"{account}_new_refresh_token"),
            "token_type": "Bearer",
            "expires_in": 3600,
            "id_token": plant(f"{account}_id_token"),
            "user": {"session": plant(f"{account}_of_the_body")},
        }

    def answer(self, account: str, said: str) -> tuple[int, str, str]:
        """Return status, content type and body."""
        match account:
            case "echo":
                words = f"{said} {quote(said, safe='')} {base64.b64encode(said.encode()).decode()} {said!r}"
                return (
                    400,
                    "application/json",
                    json.dumps({"error": "invalid_grant", "error_description": words}),
                )
            case "echo-escaped":
                words = json.dumps({"request": said})
                return (
                    401,
                    "application/json",
                    json.dumps({"error": "invalid_client", "error_uri": words, "hint": words}),
                )
            case "page":
                return (
                    500,
                    "text/html",
                    f"<html><body><h1>500</h1>{said} {self.tokens(account)}</body></html>",
                )
            case "broken":
                return 200, "application/json", json.dumps(self.tokens(account))[:-20]
            case "no-token":
                return 200, "application/json", json.dumps(self.tokens(account) | {"access_token": [said]})
            case "text":
                return 400, "text/plain", f"bad request: {said}"
        return 200, "application/json", json.dumps(self.tokens(account))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: Answers

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        account = unquote(url.path.rpartition("/")[2])
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        said = " ".join(
            [
                *(value for _, value in parse_qsl(f"{url.query}&{body}", keep_blank_values=True)),
                self.headers.get("authorization", ""),
                body if body.startswith("{") else "",
            ]
        )
        if account == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        status, kind, content = self.answers.answer(account, said)
        raw = content.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def telling_provider(markers: Markers) -> Iterator[str]:
    """Run it until the block ends; returns its address."""
    handler = type("Handler", (_Handler,), {"answers": Answers(markers)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
