"""Which workers are alive, asked over the broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.broker.gc_freeze import kept
from worker.redis.counts import LiveWorkers

#: How long a worker has to answer.
ANSWER_WITHIN_S = 1.0
#: How Celery names a beat that answers (`beat_enable_remote_control`).
BEAT = "celerybeat@"


#: Worker -> the queues that it takes from; None: nobody could be asked.
Workers = Mapping[str, Sequence[str]] | None


def alive_workers() -> dict[str, list[str]] | None:
    """Return the workers that answer, and the queues that each takes from; None where nobody could be asked."""
    try:
        answers = _answers()
    except (RedisError, OperationalError, OSError):
        return None
    return {name: sorted(taken) for name, taken in sorted(together(answers).items())}


def together(answers: Sequence[Mapping[str, object]]) -> dict[str, list[str]]:
    """Return what each worker takes from: of several with one name what all of them do.

    Celery calls every worker of a machine alike that was not named (`-n`), and keeps the answer of one.
    """
    found: dict[str, dict[str, None]] = {}
    for answer in answers:
        for name, queues in answer.items():
            if isinstance(queues, list):  # else it says what went wrong
                found.setdefault(name, {}).update((str(queue["name"]), None) for queue in queues)
    return {name: list(taken) for name, taken in found.items()}


def namesakes(answers: Sequence[Mapping[str, object]]) -> list[str]:
    """Name what more than one worker is called."""
    times = Counter(name for answer in answers for name, queues in answer.items() if isinstance(queues, list))
    return sorted(name for name, count in times.items() if count > 1)


def _answers() -> Sequence[Mapping[str, object]]:
    with kept():  # most of what asking costs
        from worker.app import app

    return app.control.broadcast("active_queues", reply=True, timeout=ANSWER_WITHIN_S) or []


def staff_or_none() -> LiveWorkers | None:
    """Ask which workers and beats are there; None where nobody can be asked."""
    try:
        return staff()
    except (RedisError, OperationalError, OSError):
        return None


def staff() -> LiveWorkers:
    """Ask which workers and beats are there.

    Raises:
        RedisError, OperationalError, OSError: nobody can be asked.
    """
    from worker.app import app

    answers = _answers()
    pongs = app.control.ping(timeout=ANSWER_WITHIN_S) or []
    return LiveWorkers(
        workers=together(answers),
        beats=sum(name.startswith(BEAT) for pong in pongs for name in pong),
        namesakes=namesakes(answers),
    )
