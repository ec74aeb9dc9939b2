"""A provider on loopback that a test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Seen:
    """One request as the provider got it."""

    method: str
    path: str
    headers: dict[str, str]
    text: str
    query: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.text)
        return body

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.text))


Script = Callable[[Seen], tuple[int, dict[str, Any]]]


class ScriptedProvider:
    """Answers as it is told, on loopback."""

    def __init__(self) -> None:
        self.script: Script = lambda _: (500, {})
        self.seen: list[Seen] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                url = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, url.path, headers, text, dict(parse_qsl(url.query)))
                provider.seen.append(seen)
                status, body = provider.script(seen)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                if cookie := body.get("set_cookie"):
                    self.send_header("set-cookie", cookie)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815  (http.server's names)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
