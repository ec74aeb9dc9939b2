"""Which workers are alive, asked over the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.io.traffic import Staff

#: How long a worker has to answer.
ANSWER_WITHIN_S = 1.0
#: How Celery names a beat that answers (`beat_enable_remote_control`).
BEAT = "celerybeat@"


#: Worker -> the queues that it takes from; None: nobody could be asked.
Workers = Mapping[str, Sequence[str]] | None


def alive_workers() -> dict[str, list[str]] | None:
    """Give the workers that answer, and the queues that each takes from; None where nobody could be asked."""
    from worker.app import app

    try:
        answers = app.control.inspect(timeout=ANSWER_WITHIN_S).active_queues() or {}
    except (RedisError, OperationalError, OSError):
        return None
    return {name: sorted(queue["name"] for queue in queues) for name, queues in sorted(answers.items())}


def staff_or_none() -> Staff | None:
    """Ask which workers and beats are there; None where nobody can be asked."""
    try:
        return staff()
    except (RedisError, OperationalError, OSError):
        return None


def staff() -> Staff:
    """Ask which workers and beats are there.

    Raises:
        RedisError, OperationalError, OSError: nobody can be asked.
    """
    from worker.app import app

    answers = app.control.inspect(timeout=ANSWER_WITHIN_S).active_queues() or {}
    pongs = app.control.ping(timeout=ANSWER_WITHIN_S) or []
    return Staff(
        workers={name: [queue["name"] for queue in queues] for name, queues in answers.items()},
        beats=sum(name.startswith(BEAT) for pong in pongs for name in pong),
    )
