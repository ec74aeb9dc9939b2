"""Where a browser comes back to: an HTTP server on loopback that waits for one redirect (RFC 8252 section 7.3)."""

from __future__ import annotations

import hmac
import queue
import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

_LOOPBACK: Final = "127.0.0.1"
#: Hosts of a redirect URI that lead back to this machine.
LOOPBACK_HOSTS: Final = frozenset({_LOOPBACK, "localhost"})
_PATH: Final = "/callback"
#: A browser that opens connections and says nothing on them must not be waited for.
_READ_S: Final = 10.0
#: How soon it ends when no caller waits any more.
_STOP_LOOK_S: Final = 0.05

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>refreshd</title>
<style>body{{font:1.1rem system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem;color:#222;background:#fff}}
@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#161616}}}}</style>
<h1>{title}</h1><p>{text}</p></html>
"""
_TAKEN: Final = ("Thank you", "refreshd goes on in the terminal. This page can be closed.")
_REFUSED: Final = ("No consent", "The terminal says why. This page can be closed.")
_NOT_OURS: Final = (
    "Not expected",
    "This is not the answer that refreshd waits for: begin again in the terminal.",
)


class LoopbackRedirect:
    """Listens for the redirect of one consent. Leaving the block ends it.

    Args:
        state: what the answer must bring; any other is refused and waited past.
        redirect_uri: where the provider sends the browser, `http` to a loopback host; by default any free port.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, state: str, redirect_uri: str | None = None) -> None:
        address = urlsplit(redirect_uri or f"http://{_LOOPBACK}{_PATH}")
        self._server = _Server((_LOOPBACK, address.port or (0 if redirect_uri is None else 80)), _Handler)
        self._server.state = state
        self._server.path = address.path or "/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_STOP_LOOK_S,), name="refreshd-redirect", daemon=True
        )
        self.redirect_uri = redirect_uri or f"http://{_LOOPBACK}:{self._server.server_address[1]}{_PATH}"

    def wait(self, timeout_s: float) -> Mapping[str, str] | None:
        """Return the answer's parameters; None: none came in time."""
        try:
            return self._server.answers.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def free_redirect_uri() -> str:
    """Return a redirect URI of a port that is free now, to be registered: many servers take no other port than that."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return f"http://{_LOOPBACK}:{probe.getsockname()[1]}{_PATH}"


def parameters_of(url: str) -> dict[str, str]:
    """Return the parameters of the URL that a browser was sent to."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def is_answer(parameters: Mapping[str, str], state: str) -> bool:
    """Return whether these are the parameters of an answer to the question with this state."""
    known = hmac.compare_digest(parameters.get("state", "").encode(), state.encode())
    return known and ("code" in parameters or "error" in parameters)


class _Server(ThreadingTCPServer):
    """Not HTTPServer, which looks its own name up, for seconds where no resolver knows it."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False  # a browser keeps connections open that it has no use for

    state = ""
    path = _PATH

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.answers: queue.Queue[Mapping[str, str]] = queue.Queue()
        super().__init__(address, handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "refreshd"
    sys_version = ""
    timeout = _READ_S

    def do_GET(self) -> None:
        """Read the answer, or reply that it is none."""
        if urlsplit(self.path).path != self.server.path:
            self._show(HTTPStatus.NOT_FOUND, *_NOT_OURS)
            return
        parameters = parameters_of(self.path)
        if not is_answer(parameters, self.server.state):
            self._show(HTTPStatus.BAD_REQUEST, *_NOT_OURS)
            return
        self._show(HTTPStatus.OK, *(_REFUSED if "error" in parameters else _TAKEN))
        self.server.answers.put(parameters)

    def log_message(self, *_: object) -> None:
        """Log nothing: the request line holds the code."""

    def _show(self, status: HTTPStatus, title: str, text: str) -> None:
        page = _PAGE.format(title=title, text=text).encode()
        self.send_response(status)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(page)))
        self.send_header("cache-control", "no-store")
        self.send_header("referrer-policy", "no-referrer")
        self.send_header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(page)
