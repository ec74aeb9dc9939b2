"""A message whose worker has ended comes again in its own queue, also where a worker of other queues finds it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.forked import ran
from worker.crypto.cipher import generate_key

#: One connection takes a message of each queue and holds it; another, which knows no more than a queue of its own, finds
#: them overdue. Celery 5.7.0 loses a message of a queue bound by a pattern then (findings/celery-topic-task-gone.sh).
FOUND_BY_ANOTHER = """
import json
from redis import Redis
from worker.app import app
from worker.broker.queues import QUEUES

names = [*QUEUES, "callback.acme"]
taken = []


def consumer(name, **options):
    connection = app.connection_for_read()
    connection.transport_options = {**connection.transport_options, **options}
    on_message = lambda body, message: taken.append(message.delivery_info["routing_key"])
    connection.Consumer([app.amqp.queues[name]], callbacks=[on_message], accept=["json"]).consume()
    return connection


for name in names:
    app.send_task("refreshd.prune", queue=name, expires=60)
holding = [consumer(name) for name in names]
for connection in holding:
    connection.drain_events(timeout=5)
other = consumer("mails", visibility_timeout=-60)
try:
    other.drain_events(timeout=0.1)
except TimeoutError:
    pass
redis = Redis.from_url(app.conf.broker_url)
print(json.dumps([sorted(taken), redis.hlen("unacked"), [name for name in names if redis.llen(name) == 1]]))
redis.flushdb()
"""


def test_a_worker_of_other_queues_gives_every_message_back_to_its_queue(
    redis_url: str, tmp_path: Path
) -> None:
    env = os.environ | {
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_DATA_DIR": str(tmp_path),
        "REFRESHD_KEYS": generate_key(),
    }
    found = ran(["-c", FOUND_BY_ANOTHER], cwd=tmp_path, env=env)
    assert found.returncode == 0, found.stderr
    queues = ["urgent", "control", "refresh", "callback", "callback.acme"]
    assert json.loads(found.stdout) == [sorted(queues), 0, queues]
