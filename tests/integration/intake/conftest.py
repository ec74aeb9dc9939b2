"""An asker without keys, and a worker beside it: the wire between them is a function, everything else is real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from tests.integration.conftest import Bench
from worker.crypto.intake import IntakeSealer
from worker.intake import account_ops, bulk_ops, grant_ops  # noqa: F401
from worker.intake.carry_out import WorkerTools
from worker.intake.client import IntakeClient
from worker.intake.inbox import answer
from worker.intake.requests import Op, Reply
from worker.providers.client import ProviderClient
from worker.redis.client import connect_async

ACME = {
    "provider": "acme",
    "client_id": "client",
    "client_secret": "marker-client-secret",
    "token_url": "https://provider.example/token",
}


class Asker:
    """Asks as the API does, and keeps what was sent and what came back."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.results: list[dict[str, Any]] = []
        self.sent: list[tuple[str, str]] = []
        runtime = bench.runtime
        client = ProviderClient(transport=httpx.MockTransport(bench._handle))
        self.tools = WorkerTools(
            stores=runtime,
            run=runtime.run,
            client=client,
            redis=runtime.async_redis,
            threads=runtime.provider_threads,
        )

    def carried_out(self, sealed: str, request_id: str) -> None:
        self.sent.append((sealed, request_id))
        self.results.append(answer(self.tools, sealed, request_id))

    def ask(
        self,
        op: Op,
        *,
        actor: str = "platform",
        require_labels: Mapping[str, str] | None = None,
        **payload: Any,
    ) -> Reply:
        return self.bench.runtime.run(
            self._ask(self.carried_out, op, actor, require_labels or {}, payload, timeout_s=10)
        )

    def unanswered(self, op: Op, **payload: Any) -> Reply:
        """Ask where no worker takes anything."""
        return self.bench.runtime.run(self._ask(lambda *_: None, op, "platform", {}, payload, timeout_s=0.1))

    async def _ask(
        self,
        send: Callable[[str, str], None],
        op: Op,
        actor: str,
        require_labels: Mapping[str, str],
        payload: Mapping[str, Any],
        *,
        timeout_s: float,
    ) -> Reply:
        runtime = self.bench.runtime
        redis = connect_async(runtime.settings.redis)
        try:
            client = IntakeClient(
                redis=redis,
                prefix=runtime.settings.redis_prefix,
                sealer=IntakeSealer.of(runtime.cipher.intake_key),
                send=send,
            )
            return await client.ask(
                op, actor=actor, require_labels=require_labels, payload=payload, timeout_s=timeout_s
            )
        finally:
            await redis.aclose()

    def acts(self) -> list[tuple[str, str, str | None, dict[str, Any]]]:
        """Return the audit trail: actor, action, account, detail."""
        found = self.bench.runtime.audit.latest(limit=100)
        return [(one.actor, one.action, one.account_id, json.loads(one.detail)) for one in reversed(found)]


@pytest.fixture
def asker(bench: Bench) -> Iterator[Asker]:
    made = Asker(bench)
    yield made
    bench.runtime.run(made.tools.client.aclose())
