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


#: The question that `worker/celery/key_ids.py` answers, and the answer's field.
_ASKED_KEY_IDS = "refreshd_key_ids"
_KEY_IDS = "key_ids"

#: Worker -> the queues that it takes from; None: nobody could be asked.
Workers = Mapping[str, Sequence[str]] | None
#: Worker -> the ids of its keys, None where it is of a release that does not answer that.
WorkerKeys = Mapping[str, frozenset[str] | None]


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


def worker_keys() -> WorkerKeys | None:
    """Ask the workers for the ids of their keys; None where nobody could be asked."""
    try:
        with kept():
            from worker.app import app

        answers = app.control.broadcast(_ASKED_KEY_IDS, reply=True, timeout=ANSWER_WITHIN_S) or []
    except (RedisError, OperationalError, OSError):
        return None
    return shared_keys(answers)


def shared_keys(answers: Sequence[Mapping[str, object]]) -> dict[str, frozenset[str] | None]:
    """Return the ids of each worker's keys: of several with one name those that all of them have."""
    found: dict[str, frozenset[str] | None] = {}
    for answer in answers:
        for name, said in answer.items():
            if name.startswith(BEAT):
                continue  # it has no use for keys
            listed = said.get(_KEY_IDS) if isinstance(said, Mapping) else None
            ids = frozenset(map(str, listed)) if isinstance(listed, list) else None
            before = found.get(name, ids)
            found[name] = None if ids is None or before is None else ids & before
    return dict(sorted(found.items()))


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
    workers = together(answers)
    return LiveWorkers(
        workers=workers,
        keys=_keys_of(workers, len(answers)),
        beats=sum(name.startswith(BEAT) for pong in pongs for name in pong),
        namesakes=namesakes(answers),
    )


def _keys_of(workers: Mapping[str, object], answers: int) -> WorkerKeys:
    """Ask workers that are known for the ids of their keys; done as soon as all of them have answered."""
    if not workers:
        return {}
    from worker.app import app

    found = app.control.broadcast(
        _ASKED_KEY_IDS, reply=True, timeout=ANSWER_WITHIN_S, destination=list(workers), limit=answers
    )
    return shared_keys(found or [])
