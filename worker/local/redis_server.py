"""The embedded Redis: a real server, run where no other is set.

Loopback and a password; an append-only file in the data folder, so that what it acknowledged outlives a crash.
Its address stands in `redis.url` as long as it runs. Port and password stay the same from run to run, so that
a connector or a shell that has the address finds it again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import redis
from msgspec import Struct
from msgspec.structs import asdict
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from worker.crypto.private_file import private_folder, write_private
from worker.errors import RedisUnreachable
from worker.local.file_lock import FolderLock
from worker.local.ports import LOOPBACK, free_port, is_free_port
from worker.local.process import Child
from worker.local.redis_binary import server_binary, server_name
from worker.log import log

#: A server that is loading a large append-only file answers that it does; one that answers nothing is broken.
START_DEADLINE_S: Final = 30.0
LOADING_DEADLINE_S: Final = 600.0
#: Redis writes the rest of its append-only file and ends; more than this means a disk that hangs.
STOP_DEADLINE_S: Final = 10.0
#: Between the look for a free port and the server's bind another process can take it.
_PORT_TRIES: Final = 5
_LOOK_S: Final = 0.01
_ANSWER_S: Final = 2.0
_LOG_END_BYTES: Final = 2_000

_READY: Final = "ready"
_LOADING: Final = "loading"


class ServerFailed(RedisUnreachable):
    """The embedded Redis ended, or does not answer; the message holds the end of its log."""


class Writer(Struct, frozen=True):
    """The server that wrote a folder last: another one may not be able to read what it left."""

    binary: str
    name: str


class Address(Struct, frozen=True):
    """Where the server listens, and what it asks for."""

    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"


class EmbeddedServer:
    """The Redis of one data folder. At most one runs, whatever happened to the process that started it.

    Files in the data folder: `redis/` (its data, configuration and lock), `logs/redis.log`, and while it runs
    `redis.url`. Those that hold the password have mode 0600.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.url_file = data_dir / "redis.url"
        self.folder = data_dir / "redis"
        self.log = data_dir / "logs" / "redis.log"
        self._address_file = self.folder / "address.json"
        self._writer_file = self.folder / "server.json"
        # The server inherits this lock: it ends with the server, not with us.
        self._lock = FolderLock(self.folder / "lock")
        self._address: Address | None = None
        self.child: Child | None = None

    @property
    def url(self) -> str:
        return self._known_address().url

    @property
    def port(self) -> int:
        return self._known_address().port

    @property
    def pid(self) -> int:
        if self.child is None:
            raise ServerFailed("the embedded Redis does not run")
        return self.child.pid

    def start(self) -> Child:
        """Start the server, wait until it answers, and write `redis.url`.

        A server that a killed process left behind in this folder is stopped first; its data stays.

        Raises:
            ServerMissing: there is no server to start.
            ServerFailed: it ended or does not answer, or a former one can't be stopped.
        """
        if self.child is not None and self.child.ended() is None:
            return self.child
        with self._taken_over() as before:
            private_folder(self.log.parent)
            try:
                child = self._start_server(before)
            except BaseException:
                self.kill()
                raise
        # The server has the lock now.
        write_private(self.url_file, self.url + "\n")
        return child

    def stop_left_behind(self) -> None:
        """Stop a server that a killed process left behind in this folder, if there is one.

        Raises:
            ServerFailed: it does not stop.
        """
        with self._taken_over():
            self.forget_address()

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> None:
        """End the server as an operator would: everything is written, `redis.url` goes with it."""
        if self.child is not None:
            self.child.terminate()
            self.child.wait(deadline_s)
        self.kill()
        self.forget_address()

    def kill(self) -> None:
        """End the server as a crash would. The next start finds what it acknowledged."""
        if self.child is not None:
            self.child.kill()
            self.child = None

    def forget_address(self) -> None:
        """Remove `redis.url`: the server has ended."""
        self.url_file.unlink(missing_ok=True)

    def _known_address(self) -> Address:
        if self._address is None:
            raise ServerFailed("the embedded Redis was not started")
        return self._address

    def _start_server(self, before: Address | None) -> Child:
        """Start the server that wrote the folder, else the one that is there now: where that can't read it, with an empty folder.

        What is set aside is kept. Published tokens are a view of SQL, and come back from there.
        """
        wrote = self._read_writer()
        binary = (
            Path(wrote.binary) if wrote is not None and os.access(wrote.binary, os.X_OK) else server_binary()
        )
        writer = Writer(str(binary), server_name(binary))
        try:
            child = self._start_on_some_port(binary, before)
        except ServerFailed:
            if wrote is None or wrote.name == writer.name:
                raise
            self.kill()
            aside = self._set_aside()
            try:
                child = self._start_on_some_port(binary, before)
            except ServerFailed:  # it was not the data
                self._bring_back(aside)
                raise
            log.warning(
                "redis_data_set_aside",
                folder=str(aside),
                written_by=wrote.name,
                unreadable_by=writer.name,
                remedy="nothing, unless the database was away when the former server ended: then start that server again",
            )
        write_private(self._writer_file, json.dumps(asdict(writer)) + "\n")
        return child

    def _set_aside(self) -> Path:
        """Move the server's data to a folder of its own, and return that."""
        aside = self.folder / time.strftime("aside-%Y%m%dT%H%M%S", time.gmtime())
        private_folder(aside)
        for path in (
            *self.folder.glob("appendonly*"),
            *self.folder.glob("*.rdb"),
            *self.folder.glob("*.aof"),
        ):
            path.rename(aside / path.name)
        return aside

    def _bring_back(self, aside: Path) -> None:
        for path in self.folder.glob("appendonly*"):
            shutil.rmtree(path)
        for path in aside.iterdir():
            path.rename(self.folder / path.name)
        aside.rmdir()

    def _start_on_some_port(self, binary: Path, before: Address | None) -> Child:
        if self._address is not None:
            # Started again after a crash: the processes that run know this address and no other.
            return self._start_once(binary, self._address)
        password = before.password if before else secrets.token_urlsafe(24)
        port = before.port if before and is_free_port(before.port) else free_port()
        for tries_left in reversed(range(_PORT_TRIES)):
            try:
                return self._start_once(binary, Address(port, password))
            except ServerFailed:
                self.kill()
                if not tries_left or is_free_port(port):  # what failed was not the port
                    raise
                port = free_port()
        raise AssertionError("the last try returns or raises")

    def _start_once(self, binary: Path, address: Address) -> Child:
        configuration = self.folder / "redis.conf"
        write_private(configuration, _configuration(address))
        # Before the start, so that the next run after a crash can reach the server that was left behind.
        write_private(self._address_file, json.dumps(asdict(address)) + "\n")
        self._address = address
        self.child = Child(
            [str(binary), str(configuration.absolute()), "--dir", str(self.folder.absolute())],
            log=self.log,
            keep=[self._lock.descriptor],
        )
        self._wait_for(self.child, address)
        return self.child

    def _wait_for(self, child: Child, address: Address) -> None:
        began = time.monotonic()
        while (answer := _look(address)) != _READY:
            if child.ended() is not None:
                raise ServerFailed(f"the embedded Redis ended: {_end_of(self.log)}")
            waited_s = time.monotonic() - began
            if waited_s > (LOADING_DEADLINE_S if answer == _LOADING else START_DEADLINE_S):
                raise ServerFailed(
                    f"the embedded Redis did not answer in {waited_s:.0f} s: {_end_of(self.log)}"
                )
            time.sleep(_LOOK_S)

    @contextmanager
    def _taken_over(self) -> Iterator[Address | None]:
        """Hold the server's lock. One that was left behind holds it, and is asked to end. Returns its address."""
        private_folder(self._data_dir)
        private_folder(self.folder)
        before = self._read_address()
        if not self._lock.acquire():
            if before is not None:
                _shut_down(before)
            self._wait_for_the_lock()
        try:
            yield before
        finally:
            self._lock.release()

    def _wait_for_the_lock(self) -> None:
        until = time.monotonic() + STOP_DEADLINE_S
        while not self._lock.acquire():
            if time.monotonic() > until:
                raise ServerFailed(
                    f"a Redis of a former run still uses {self.folder.absolute()} and does not stop: "
                    "find it (`ps ax | grep redis.conf`), end it, and start again"
                )
            time.sleep(_LOOK_S)

    def _read_writer(self) -> Writer | None:
        with suppress(OSError, ValueError, TypeError):
            return Writer(**json.loads(self._writer_file.read_text(encoding="utf-8")))
        return None

    def _read_address(self) -> Address | None:
        with suppress(OSError, ValueError, TypeError):
            return Address(**json.loads(self._address_file.read_text(encoding="utf-8")))
        return None


def _configuration(address: Address) -> str:
    return (
        f"bind {LOOPBACK}\nport {address.port}\nprotected-mode yes\nrequirepass {address.password}\n"
        # An fsync a second: what is lost with the machine's power is published again from SQL.
        "appendonly yes\nappendfsync everysec\nsave ''\n"
        # A broker must never forget; it says that it is full instead.
        "maxmemory-policy noeviction\n"
        "daemonize no\nset-proc-title no\n"
    )


def _look(address: Address) -> str | None:
    """Return whether the server at this address is ours and ready, or loading; None where it is neither."""
    with closing(_client(address)) as client:
        try:
            client.ping()
        except BusyLoadingError:
            return _LOADING
        except (RedisError, OSError):
            return None
        return _READY


def _shut_down(address: Address) -> None:
    with closing(_client(address)) as client, suppress(RedisError, OSError):
        # Its append-only file is complete: there is nothing else to save.
        client.shutdown(nosave=True)


def _client(address: Address) -> redis.Redis:
    # Without retries: redis-py's own last for seconds.
    return redis.Redis(
        host=LOOPBACK,
        port=address.port,
        password=address.password,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_ANSWER_S,
    )


def _end_of(log: Path) -> str:
    with suppress(OSError):
        return log.read_bytes()[-_LOG_END_BYTES:].decode(errors="replace").strip()
    return "it left no log"
