"""A TCP address that leads to one port and then to another, as a proxy's does before a pair of databases."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 65536


class Switch:
    """Passes connections on to a local port; none while that port takes none."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, name="switch", daemon=True).start()

    def to(self, target_port: int) -> None:
        """Lead to another port from now on, and end the connections that there are."""
        with self._lock:
            self._target_port = target_port
            ended, self._open = self._open, []
        _end(ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end([self._listener, *self._open])

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                with self._lock:
                    try:
                        there = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
                    except OSError:
                        here.close()
                        continue
                    there.settimeout(None)
                    self._open += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _end(sockets: list[socket.socket]) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
