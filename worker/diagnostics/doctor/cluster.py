"""Checks of a Redis Cluster as a whole; each of its primaries is checked as a server, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from worker.diagnostics.doctor.result import CheckResult, failed, warning


def primaries_of(client: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return INFO of each primary, by its address.

    Raises:
        RedisError: one of them does not answer.
    """
    return {node.name: client.info(target_nodes=node) for node in client.get_primaries()}


def key_on(client: Any, node: str, key: str) -> str:
    """Return a key that a node has, made of this one: a Cluster of a thousand nodes takes some thousand tries."""
    made = (f"{key}:{number}" for number in count())
    return next(one for one in made if client.get_node_from_key(one).name == node)


def check_cluster(client: Any, nodes: Mapping[str, Mapping[str, Any]], name: str) -> Iterator[CheckResult]:
    """Check that every slot is served, and that each primary has a replica."""
    state = client.cluster_info(target_nodes=client.get_default_node())
    if state.get("cluster_state") != "ok":
        yield failed(
            name,
            f"the Cluster is down: {state.get('cluster_slots_ok')} of 16384 slots are served",
            "start the nodes that are missing, or `redis-cli --cluster fix HOST:PORT`",
        )
    alone = [node for node, info in nodes.items() if not info.get("connected_slaves")]
    if alone:
        yield warning(
            name,
            f"no replica follows {', '.join(alone)}: while such a node is away, its accounts are not refreshed and "
            "connectors can't read them",
            "add a replica: `redis-cli --cluster add-node NEW:PORT ANY:PORT --cluster-slave`",
        )
