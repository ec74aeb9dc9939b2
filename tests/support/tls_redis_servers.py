"""Redis servers that speak TLS and nothing else: a primary with its sentinel, and a Cluster of one node. The wheel's can't."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.clusters import SLOTS
from tests.support.providers.certificates import Authority
from tests.support.server_binaries import redis_binaries
from tests.support.server_process import ServerProcess, free_port
from tests.support.waiting import wait_until

MASTER: Final = "fleet"


def tls_binary() -> Path | None:
    """Return the first server on PATH that was built with TLS."""
    for binary in redis_binaries():
        probe = [str(binary), "--port", "0", "--tls-port", "1", "--tls-cert-file", "/nonexistent"]
        said = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=30).stdout
        if "Failed to configure TLS" in said:
            return binary
    return None


class TlsServer(ServerProcess):
    """One server, or a sentinel, with a certificate of the authority and a configuration of its own."""

    def __init__(
        self, binary: Path, folder: Path, authority: Authority, lines: list[str], *, sentinel: bool
    ) -> None:
        folder.mkdir(parents=True)
        super().__init__("Redis by TLS", folder, None)
        self.password = secrets.token_hex(12)
        self._binary = binary
        self._lines = lines
        self._sentinel = sentinel
        self._ca = folder / "ca.pem"
        self._ca.write_text(authority.certificate)
        self._certificate, self._key = authority.sign("localhost").written(folder, "server")

    def _command(self) -> list[str]:
        config = self.folder / "server.conf"
        config.touch(mode=0o600)
        lines = [
            *(
                "bind 127.0.0.1",
                "port 0",
                f"tls-port {self.port}",
                "tls-auth-clients no",
                "tls-replication yes",
            ),
            *(
                f"tls-cert-file {self._certificate}",
                f"tls-key-file {self._key}",
                f"tls-ca-cert-file {self._ca}",
            ),
            f"requirepass {self.password}",
            *self._lines,
        ]
        config.write_text("\n".join(lines) + "\n")
        return [str(self._binary), str(config), *(["--sentinel"] if self._sentinel else [])]

    def ask(self, *command: Any) -> Any:
        """Send one command."""
        client: Any = redis.Redis(
            port=self.port,
            password=self.password,
            ssl=True,
            ssl_ca_certs=str(self._ca),
            retry=Retry(NoBackoff(), 0),
            socket_timeout=2,
            decode_responses=True,
        )
        try:
            return client.execute_command(*command)
        finally:
            client.close()

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False


@contextmanager
def tls_sentinel(binary: Path, folder: Path, authority: Authority) -> Iterator[str]:
    """Run a primary and a sentinel, and give their URL without options."""
    with ExitStack() as stack:
        primary = TlsServer(binary, folder / "primary", authority, ["save ''"], sentinel=False)
        stack.callback(primary.stop)
        primary.start()
        lines = [
            f"sentinel monitor {MASTER} 127.0.0.1 {primary.port} 1",
            f"sentinel auth-pass {MASTER} {primary.password}",
        ]
        sentinel = TlsServer(binary, folder / "sentinel", authority, lines, sentinel=True)
        stack.callback(sentinel.stop)
        sentinel.start()
        yield (
            f"sentinels://:{primary.password}@127.0.0.1:{sentinel.port}/{MASTER}/0"
            f"?sentinel_password={sentinel.password}"
        )


@contextmanager
def tls_cluster(binary: Path, folder: Path, authority: Authority) -> Iterator[str]:
    """Run a Cluster of one node that has every slot, and give its URL without options."""
    lines = ["save ''", "cluster-enabled yes", f"cluster-port {free_port()}", "tls-cluster yes"]
    node = TlsServer(binary, folder / "node", authority, lines, sentinel=False)
    try:
        node.start()
        node.ask("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_until(lambda: node.ask("CLUSTER INFO")["cluster_state"] == "ok", "a Cluster that is whole")
        yield f"clusters://:{node.password}@127.0.0.1:{node.port}"
    finally:
        node.stop()
