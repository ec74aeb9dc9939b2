"""A Redis Cluster on loopback: what `cluster://` leads to. Any node is killed and started at will; slots move with their keys."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from redis.crc import key_slot

from tests.support.server_process import free_port
from tests.support.services import RedisServer
from tests.support.waiting import wait_until

#: Hash slots of a Cluster (redis.io/docs/reference/cluster-spec).
SLOTS: Final = 16384
#: A node that says nothing for so long is replaced, milliseconds; servers' default is 15,000.
NODE_TIMEOUT_MS: Final = 2_000
_KEYS_AT_ONCE: Final = 100


class ClusterNode(RedisServer):
    """One node. Its bus has a free port of its own: the usual one, 10000 above, may not exist."""

    def __init__(self, directory: Path, password: str) -> None:
        directory.mkdir(parents=True)
        super().__init__(directory)
        self.password = password
        #: Others know it by its bus port, which stays.
        self.is_known = False

    def _command(self) -> list[str]:
        command = super()._command()
        if not self.is_known:  # a start that failed may have found this port taken
            self.bus_port = free_port()
        with Path(command[-1]).open("a") as config:
            config.write(
                f"masterauth {self.password}\nrepl-diskless-sync-delay 0\ncluster-enabled yes\n"
                f"cluster-port {self.bus_port}\ncluster-node-timeout {NODE_TIMEOUT_MS}\n"
            )
        return command

    def ask(self, *command: Any) -> Any:
        """Send one command to this node."""
        client: Any = redis.Redis.from_url(self.url, decode_responses=True)
        try:
            return client.execute_command(*command)
        finally:
            client.close()

    @property
    def id(self) -> str:
        return str(self.ask("CLUSTER MYID"))

    @property
    def role(self) -> str:
        return str(self.ask("ROLE")[0])


class RedisCluster:
    """Primaries with an equal share of the slots each, and a replica of each one where they are wanted."""

    def __init__(self, directory: Path, *, primaries: int = 3, replicas: bool = True) -> None:
        self.password = secrets.token_hex(12)
        self._primaries = primaries
        self.nodes = [
            ClusterNode(directory / f"node-{number}", self.password)
            for number in range(primaries * (2 if replicas else 1))
        ]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"cluster://:{self.password}@{hosts}"

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        first, *rest = self.nodes
        bounds = [SLOTS * number // self._primaries for number in range(self._primaries + 1)]
        for node, start, end in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.ask("CLUSTER ADDSLOTSRANGE", start, end - 1)
        for node in rest:
            first.ask("CLUSTER MEET", "127.0.0.1", node.port, node.bus_port)
        for node in self.nodes:
            node.is_known = True
        wait_until(
            lambda: self._all_say("cluster_known_nodes", str(len(self.nodes))), "nodes that know each other"
        )
        for primary, replica in zip(self.nodes, self.nodes[self._primaries :], strict=False):
            replica.ask("CLUSTER REPLICATE", primary.id)
        wait_until(
            lambda: self._all_say("cluster_state", "ok") and self._all_follow(), "a Cluster that is whole"
        )

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def primary_of(self, key: str) -> ClusterNode:
        """Return the node that has a key's slot."""
        slot = key_slot(key.encode())
        for start, end, primary, *_ in self._running().ask("CLUSTER SLOTS"):
            if start <= slot <= end:
                return next(node for node in self.nodes if node.port == int(primary[1]))
        raise AssertionError(f"no node has slot {slot}")

    def fail_over(self, key: str) -> ClusterNode:
        """Kill the primary of a key, wait until its replica has taken over, and return the killed one."""
        killed = self.primary_of(key)
        killed.kill()
        wait_until(lambda: self.primary_of(key) is not killed, "another primary")
        return killed

    def move_slot(self, key: str) -> ClusterNode:
        """Move the slot of a key to another primary, as `redis-cli --cluster reshard` does; return the new one."""
        with self.moving_slot(key) as target:
            return target

    @contextmanager
    def moving_slot(self, key: str) -> Iterator[ClusterNode]:
        """Begin to move the slot of a key: the key itself has arrived, others follow when the block ends."""
        slot, source = key_slot(key.encode()), self.primary_of(key)
        primaries = [node for node in self.nodes if node.running and node.role == "master"]
        target = next(node for node in primaries if node is not source)
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.id)
        self._migrate(source, target, [key])
        try:
            yield target
        finally:
            while keys := source.ask("CLUSTER GETKEYSINSLOT", slot, _KEYS_AT_ONCE):
                self._migrate(source, target, keys)
            for node in (target, source, *primaries):
                node.ask("CLUSTER SETSLOT", slot, "NODE", target.id)

    def _migrate(self, source: ClusterNode, target: ClusterNode, keys: list[str]) -> None:
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", self.password, "KEYS", *keys)

    def is_whole(self) -> bool:
        """Return whether every node runs, and every replica follows."""
        try:
            return self._all_say("cluster_state", "ok") and self._all_follow()
        except redis.RedisError:  # one that was started again reads its file
            return False

    def _running(self) -> ClusterNode:
        return next(node for node in self.nodes if node.running)

    def _all_say(self, name: str, value: str) -> bool:
        return all(node.ask("CLUSTER INFO").get(name) == value for node in self.nodes)

    def _all_follow(self) -> bool:
        roles = [node.ask("ROLE") for node in self.nodes]
        replicas = [one for one in roles if one[0] == "slave"]
        return len(replicas) == len(self.nodes) - self._primaries and all(
            one[3] == "connected" for one in replicas
        )


@contextmanager
def redis_cluster(directory: Path, *, primaries: int = 3, replicas: bool = True) -> Iterator[RedisCluster]:
    """Run a Cluster whose data is in `directory`."""
    made = RedisCluster(directory, primaries=primaries, replicas=replicas)
    try:
        made.start()
        yield made
    finally:
        made.stop()
