"""Which workers are alive, asked over the broker."""

from __future__ import annotations

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

#: How long a worker has to answer.
ANSWER_WITHIN_S = 1.0


def alive_workers() -> dict[str, list[str]] | None:
    """Give the workers that answer, and the queues that each takes from; None where nobody could be asked."""
    from worker.app import app

    try:
        answers = app.control.inspect(timeout=ANSWER_WITHIN_S).active_queues() or {}
    except (RedisError, OperationalError, OSError):
        return None
    return {name: sorted(queue["name"] for queue in queues) for name, queues in sorted(answers.items())}
