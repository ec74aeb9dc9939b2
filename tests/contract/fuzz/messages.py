"""What may arrive through Redis: task messages on a worker's queues, and reports of connectors.

A real Redis and a real worker. After each case one more good input follows; what shows is whether it is taken.
"""

from __future__ import annotations

import base64
import itertools
import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from models.tables.attempt import Trigger
from refreshd_reader.contract import Keys
from tests.contract.fuzz.mutation import AWKWARD, Check, Target, mutated, one_of_many
from tests.support.fleet import Fleet
from tests.support.services import redis_server
from tests.support.waiting import wait_until
from tests.unit.providers.test_response_properties import documents
from worker.crypto.cipher import generate_key
from worker.db.migrate import upgrade
from worker.redis.client import connect
from worker.scheduling.rejected_tokens import ReportReader, connect_for_reports

TASKS: Final = (
    "refreshd.refresh",
    "refreshd.plan",
    "refreshd.reconcile",
    "refreshd.prune",
    "refreshd.registrations",
    "celery.backend_cleanup",
    "x",
)
INPUTS_A_CASE: Final = 10
PROCESSED_WITHIN_S: Final = 30.0


def envelope(
    task: object, args: object, kwargs: object, embed: object, headers: Mapping[str, object]
) -> dict[str, Any]:
    """Return a message as Celery writes it to Redis."""
    body = json.dumps([args, kwargs, embed])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": str(uuid.uuid4()), "retries": 0, "timelimit": [None, None], **headers},
        "properties": {
            "correlation_id": "c", "reply_to": "r", "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "refresh"}, "delivery_tag": str(uuid.uuid4()),
        },
    }  # fmt: skip


_GOOD: Final = json.dumps(
    envelope("refreshd.refresh", [], {"accounts": [["acct", 1]], "reason": "forced"}, {"callbacks": None}, {})
).encode()
_accounts: Final = st.lists(
    st.tuples(st.sampled_from(["a", "b:c@d"]) | st.text(max_size=9), st.integers()), max_size=3
)
_headers: Final = st.dictionaries(
    st.sampled_from(["id", "task", "lang", "eta", "expires", "retries", "timelimit", "group", "root_id", "parent_id",
                     "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamps", "stamped_headers", "shadow"]),
    documents | st.sampled_from(["2020-01-01T00:00:00Z", "yesterday", "9" * 400]),
    max_size=2,
)  # fmt: skip
_enveloped: Final = st.builds(
    envelope,
    st.sampled_from(TASKS),
    st.just([]) | documents,
    st.dictionaries(st.sampled_from(["accounts", "reason", "x"]), _accounts | documents, max_size=3)
    | documents,
    st.just({}) | documents,
    _headers,
)
_replaced: Final = st.builds(
    lambda message, name, value: {**message, name: value},
    _enveloped,
    st.sampled_from(["body", "content-encoding", "content-type", "headers", "properties"]),
    documents,
)
messages: Final = st.lists(
    mutated([_GOOD]) | (_enveloped | _replaced).map(lambda document: json.dumps(document).encode()),
    min_size=INPUTS_A_CASE,
    max_size=INPUTS_A_CASE,
)


@contextmanager
def broker_messages() -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as server:
        folder = Path(name)
        database = f"sqlite:///{folder / 'refreshd.db'}"
        upgrade(database)
        fleet = Fleet(
            {"REFRESHD_DATABASE_URL": database, "REFRESHD_REDIS_URL": server.url_of(0), "REFRESHD_DATA_DIR": name,
             "REFRESHD_KEYS": generate_key()},
            folder,
        )  # fmt: skip
        worker = fleet.worker(concurrency=2).wait_ready()
        client = connect(server.url_of(0))
        numbers = itertools.count()

        def check(case: Sequence[bytes]) -> None:
            if not worker.alive:
                worker.start().wait_ready()
            for raw in case:
                client.lpush("refresh", raw)
            last = f"last-{next(numbers)}"
            client.lpush(
                "refresh", json.dumps(envelope("refreshd.refresh", [], {"accounts": []}, {}, {"id": last}))
            )
            wait_until(
                lambda: last in worker.log.read_text(errors="replace") or not worker.alive,
                f"{last} is taken",
                PROCESSED_WITHIN_S,
            )
            assert worker.alive, worker.log.read_text(errors="replace")[-3000:]
            with worker.log.open("r+b") as log:
                log.truncate(0)

        try:
            yield check
        finally:
            client.close()
            worker.kill()


_field_values: Final = (
    one_of_many(AWKWARD) | st.binary(max_size=20) | st.integers().map(lambda n: str(n).encode())
)
_good_report: Final = st.fixed_dictionaries(
    {b"account": st.just(b"acct"), b"generation": st.just(b"1"), b"http_status": st.just(b"401")}
)
reports: Final = st.lists(
    st.builds(
        lambda good, more, without: (
            {k: v for k, v in {**good, **more}.items() if k not in without} or {b"x": b""}
        ),
        _good_report,
        st.dictionaries(
            st.sampled_from([b"account", b"generation", b"http_status"]) | st.binary(max_size=5),
            _field_values,
            max_size=3,
        ),
        st.sets(st.sampled_from([b"account", b"generation", b"http_status"]), max_size=1),
    ),
    min_size=INPUTS_A_CASE,
    max_size=INPUTS_A_CASE,
)


@contextmanager
def rejected_reports() -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as server:
        taken: set[tuple[str, int]] = set()

        def dispatch(accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
            assert trigger is Trigger.REPORTED
            assert not callback
            taken.update(accounts)

        keys = Keys()
        client = connect(server.url_of(0))
        reader = ReportReader(connect_for_reports(server.url_of(0)), keys, dispatch, consumer="fuzz")
        reader.start()
        numbers = itertools.count(1)

        def check(case: Sequence[dict[Any, Any]]) -> None:
            for fields in case:
                client.xadd(keys.rejected, fields)
            last = ("last", next(numbers))
            client.xadd(keys.rejected, {"account": last[0], "generation": last[1], "http_status": 401})
            wait_until(lambda: last in taken, f"{last} is taken", PROCESSED_WITHIN_S)
            taken.clear()

        try:
            yield check
        finally:
            reader.stop()
            client.close()


BROKER_MESSAGES: Final = Target(messages, broker_messages, INPUTS_A_CASE)
REJECTED_REPORTS: Final = Target(reports, rejected_reports, INPUTS_A_CASE)
