"""The API against its own OpenAPI document: no 5xx, and no answer that the document does not describe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from tests.integration.api.conftest import Desk
from tests.integration.api.serving import served
from tests.integration.conftest import Bench
from tests.support.services import RedisServer
from worker.crypto.cipher import generate_key
from worker.settings import Settings

#: Each makes a request and some of them a round trip to a worker.
EXAMPLES = 12
#: It never ends by itself; tests/integration/api/test_tokens_and_events.py has it.
STREAM = "/v1/events"


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Return a body of lines: text as it was made."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


@pytest.fixture(scope="module")
def served_api(
    sqlite_template: Path, redis_service: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The API's URL, and a key that may do everything."""
    folder = tmp_path_factory.mktemp("api")
    database = folder / "refreshd.db"
    database.write_bytes(sqlite_template.read_bytes())
    bench = Bench(
        Settings(
            database_url=SecretStr(f"sqlite:///{database}"),
            redis_url=SecretStr(redis_service.url_of(15)),
            keys=SecretStr(generate_key()),
            data_dir=folder,
        )
    )
    for number in range(3):
        bench.add(f"acct-{number}", refresh_token=f"r-{number}")
    desk = Desk(bench, folder)
    key = desk.key()
    with served(desk.app, desk.context.api) as url:
        yield url, key
    bench.runtime.close()


def operations(url: str) -> list[Any]:
    schema: Any = schemathesis.openapi.from_url(f"{url}/openapi.json")
    schema.config.generation.update(modes=list(GenerationMode))
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.timeout(280)
def test_every_answer_is_described(served_api: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    url, key = served_api
    monkeypatch.setattr("worker.api.routes.refresh.send_forced", lambda _: ["task"])
    monkeypatch.setattr("worker.api.routes.refresh.WAIT_MAX_S", 0.0)
    tried = set()
    for operation in operations(url):
        if operation.path == STREAM:
            continue
        tried.add((operation.method, operation.path))
        _try(operation, key)
    assert len(tried) >= 15


def _try(operation: Any, key: str) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Any) -> None:
        if isinstance(case.body, dict) and case.body.get("wait_s"):
            case.body["wait_s"] = 0
        case.call_and_validate(
            headers={"Authorization": f"Bearer {key}"},
            checks=[
                schemathesis.checks.not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_schema_conformance,
                checks.response_headers_conformance,
            ],
        )

    run()
