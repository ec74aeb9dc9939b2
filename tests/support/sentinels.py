"""A primary, replicas and sentinels on loopback: what `sentinel://` leads to. Any of them is killed and started at will."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.server_process import ServerProcess
from tests.support.services import RedisServer
from tests.support.waiting import wait_until

MASTER: Final = "fleet"
QUORUM: Final = 2
#: A primary that says nothing for so long is replaced, milliseconds.
DOWN_AFTER_MS: Final = 2_000


class Replica(RedisServer):
    """A Redis of the set; the first one of them begins as the primary."""

    def __init__(self, directory: Path, password: str, primary: RedisServer | None = None) -> None:
        super().__init__(directory)
        self.password = password
        self._primary = primary

    def _command(self) -> list[str]:
        command = super()._command()
        config = Path(command[-1])
        more = f"masterauth {self.password}\nrepl-diskless-sync-delay 0\nmin-replicas-max-lag 10\n"
        if self._primary is not None:
            more += f"replicaof 127.0.0.1 {self._primary.port}\n"
        config.write_text(config.read_text() + more)
        return command


class Sentinel(ServerProcess):
    """One sentinel, which asks for a password of its own."""

    def __init__(self, folder: Path, primary: RedisServer, password: str) -> None:
        folder.mkdir(parents=True)
        super().__init__("Sentinel", folder, None)
        self.binary = primary.binary
        self.password = password
        self._primary = primary

    def _command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        if not config.exists():  # it writes into it what it learns
            config.touch(mode=0o600)
            config.write_text(
                f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\nsentinel sentinel-pass {self.password}\n"
                f"sentinel monitor {MASTER} 127.0.0.1 {self._primary.port} {QUORUM}\n"
                f"sentinel auth-pass {MASTER} {self._primary.password}\n"
                f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {MASTER} 10000\n"
            )
        return [str(self.binary), str(config), "--sentinel"]

    def _answers(self) -> bool:
        try:
            return bool(self.ask("ping"))
        except redis.RedisError:
            return False

    def ask(self, command: str, *args: Any) -> Any:
        """Send one command."""
        client: Any = redis.Redis(
            port=self.port,
            password=self.password,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=2,
            decode_responses=True,
        )
        try:
            return getattr(client, command)(*args)
        finally:
            client.close()


class RedisSet:
    """One primary, its replicas and three sentinels."""

    def __init__(self, directory: Path, *, replicas: int = 2, sentinels: int = 3) -> None:
        password = secrets.token_hex(12)
        first = Replica(directory / "server-0", password)
        self.servers = [
            first,
            *(Replica(directory / f"server-{n}", password, first) for n in range(1, replicas + 1)),
        ]
        login = secrets.token_hex(12)
        self.sentinels = [Sentinel(directory / f"sentinel-{n}", first, login) for n in range(sentinels)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return (
            f"sentinel://:{self.servers[0].password}@{hosts}/{MASTER}/0"
            f"?sentinel_password={self.sentinels[0].password}"
        )

    @property
    def passwords(self) -> tuple[str, str]:
        """What nothing may show: the servers' password, and the sentinels'."""
        return self.servers[0].password, self.sentinels[0].password

    @property
    def primary(self) -> RedisServer:
        """The server that the sentinels call the primary."""
        for one in self.sentinels:
            if one.running:
                port = int(one.ask("sentinel_master", MASTER)["port"])
                return next(server for server in self.servers if server.port == port)
        raise AssertionError("no sentinel runs")

    def start(self) -> None:
        for server in self.servers:
            server.start()
        for sentinel in self.sentinels:
            sentinel.start()
        wait_until(self._is_whole, "sentinels that know each other and every replica")

    def stop(self) -> None:
        for one in (*self.sentinels, *self.servers):
            one.kill()

    def fail_over(self) -> RedisServer:
        """Kill the primary, wait until the sentinels name another, and return the killed one."""
        killed = self.primary
        killed.kill()
        wait_until(lambda: self.primary is not killed, "another primary")
        return killed

    def _is_whole(self) -> bool:
        states = [one.ask("sentinel_master", MASTER) for one in self.sentinels]
        return all(
            one["num-other-sentinels"] == len(self.sentinels) - 1
            and one["num-slaves"] == len(self.servers) - 1
            for one in states
        )


@contextmanager
def redis_set(directory: Path) -> Iterator[RedisSet]:
    """Run a set whose data is in `directory`."""
    made = RedisSet(directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()
