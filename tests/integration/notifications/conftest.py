"""A runtime whose webhooks go to a receiver that a test scripts, over the real client and real stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from standardwebhooks import Webhook

from tests.integration.conftest import Bench
from worker.crypto.cipher import generate_key
from worker.db.engine import writing
from worker.notifications.webhook_client import WebhookClient
from worker.notifications.webhook_sender import RunSummary
from worker.settings import Settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://hooks.example/refreshd?key=url-secret"

Receiver = Callable[[httpx.Request], httpx.Response]


def webhook_settings(database_url: str, redis_url: str, data_dir: Path, **more: Any) -> Settings:
    fields = {"webhook_url": SecretStr(URL), "webhook_secret": SecretStr(SECRET), **more}
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=data_dir,
        **fields,
    )


class Post(Bench):
    """A bench with a receiver; `taken` holds what it was sent, verified."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.settings = settings
        self.taken: list[tuple[str, Any]] = []
        self.receive: Receiver = lambda _: httpx.Response(204)
        self.runtime.webhook_sender._client = self.client()

    def client(self, *, timeout_s: float = 5) -> WebhookClient:
        return WebhookClient(
            self.settings.webhook_secrets,
            ca_file=None,
            now=self.runtime.clock.now,
            timeout_s=timeout_s,
            transport=httpx.MockTransport(self._receive),
        )

    def _receive(self, request: httpx.Request) -> httpx.Response:
        response = self.receive(request)
        if response.is_success:
            message = Webhook(SECRET).verify(request.content, dict(request.headers))
            assert message == json.loads(request.content)
            self.taken.append((request.headers["webhook-id"], message))
        return response

    def tell(self) -> RunSummary:
        told = self.runtime.run(self.runtime.webhook_sender.tell())
        assert told is not None
        return told

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        with writing(self.runtime.engine) as connection:
            result = connection.execute(text(statement), parameters)
            return list(result) if result.returns_rows else []

    def hours_pass(self, hours: float) -> None:
        """Make everything that waits as old as it would be then."""
        self.sql("UPDATE webhook SET created_at = created_at - :s, next_at = next_at - :s", s=hours * 3600)
        self.sql("UPDATE outbox SET at = at - :s", s=hours * 3600)

    @property
    def told_of(self) -> list[tuple[str, str | None]]:
        """Type and account of each message that was taken."""
        return [(message["type"], message["data"].get("account")) for _, message in self.taken]


@pytest.fixture
def post(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Post]:
    made = Post(webhook_settings(database_url, redis_url, tmp_path))
    yield made
    made.runtime.close()
