"""What the driver does to a running fleet. Each disturbance ends with every process up again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from benchmarks.chaos.stage import CALL_TIMEOUT_S, CLAIM_S, Stage
from tests.support.providers.grants import Fault, Grant
from worker.redis.client import connect

#: Chances of a fault, a call. What loses answers is rare, so that most grants live through the run.
_FAULTS: Final = {
    Fault.ANSWER_DROPPED: 0.0003,
    Fault.DELAYED: 0.0003,
    Fault.GARBAGE: 0.0003,
    Fault.RESET: 0.003,
    Fault.UNAVAILABLE: 0.003,
    Fault.RATE_LIMITED: 0.0005,
}


def everyday_faults(stage: Stage) -> Callable[[Grant], Fault | None]:
    """Return the script of a provider that fails now and then."""

    chance = random.Random(f"faults {stage.seed}")

    def script(_: Grant) -> Fault | None:
        drawn = chance.random()
        for fault, share in _FAULTS.items():
            drawn -= share
            if drawn < 0:
                return fault
        return None

    return script


def kill_a_worker(stage: Stage) -> None:
    name = stage.chance.choice(stage.workers)
    stage.kill(name)
    _wait(stage, 3)
    stage.start_again(name)


def kill_every_worker(stage: Stage) -> None:
    for name in stage.workers:
        stage.kill(name)
    for name in stage.workers:
        stage.start_again(name)


def terminate_a_worker(stage: Stage) -> None:
    name = stage.chance.choice(stage.workers)
    stage.member(name).terminate()
    stage.member(name).wait_ended(CALL_TIMEOUT_S + 30)
    stage.start_again(name)


def pause_a_worker_briefly(stage: Stage) -> None:
    """Shorter than a claim: nobody else may call meanwhile, and what arrived is stored."""
    name = stage.chance.choice(stage.workers)
    stage.member(name).pause()
    time.sleep(stage.chance.uniform(0.5, CLAIM_S / 2))
    stage.member(name).resume()


def pause_a_worker_beyond_its_claims(stage: Stage) -> None:
    """Others replay what it was doing: its answers can't be stored in time."""
    name = stage.chance.choice(stage.workers)
    stage.member(name).pause()
    stage.lose(stage.calls_of(name), "worker paused")
    time.sleep(CLAIM_S + stage.chance.uniform(3, 10))
    stage.member(name).resume()


def kill_the_beats(stage: Stage) -> None:
    for name in stage.beats:
        stage.member(name).kill()
    _wait(stage, 4)
    for name in stage.beats:
        stage.start_again(name)


def terminate_a_beat(stage: Stage) -> None:
    name = stage.chance.choice(stage.beats)
    stage.member(name).terminate()
    stage.member(name).wait_ended(30)
    stage.start_again(name)


def flush_redis(stage: Stage) -> None:
    client = connect(stage.redis.url)
    client.flushall()
    client.close()


def crash_redis(stage: Stage) -> None:
    stage.redis.kill()
    _wait(stage, 6)
    stage.redis.start()


def replace_redis_by_an_empty_one(stage: Stage) -> None:
    stage.redis.kill()
    stage.redis.wipe()
    _wait(stage, 3)
    stage.redis.start()


def stop_the_provider(stage: Stage) -> None:
    """503 for everyone, for some seconds."""
    everyday = stage.provider.script
    stage.provider.script = lambda _: Fault.UNAVAILABLE
    time.sleep(stage.chance.uniform(2, 12))
    stage.provider.script = everyday


def restart_postgres(stage: Stage) -> None:
    postgres = stage.database_server
    postgres.stop()
    _wait(stage, 5)
    postgres.start()


def crash_postgres(stage: Stage) -> None:
    postgres = stage.database_server
    postgres.kill()
    _wait(stage, 5)
    postgres.start()


def crash_postgres_and_a_worker(stage: Stage) -> None:
    """Answers wait in Redis when their process dies: the next one adopts them."""
    postgres = stage.database_server
    postgres.kill()
    down_s = stage.chance.uniform(2, 6)
    time.sleep(down_s)
    name = stage.chance.choice(stage.workers)
    stage.kill(name, silent_s=down_s)
    postgres.start()
    stage.start_again(name)


def crash_both_stores(stage: Stage) -> None:
    """Answers wait in the memory of their processes, which live on."""
    postgres = stage.database_server
    postgres.kill()
    stage.redis.kill()
    _wait(stage, 6)
    stage.redis.start()
    _wait(stage, 3)
    postgres.start()


def flush_redis_while_answers_wait_there(stage: Stage) -> None:
    """Their processes have them too."""
    postgres = stage.database_server
    postgres.kill()
    _wait(stage, 4)
    flush_redis(stage)
    postgres.start()


Disturbance = Callable[[Stage], None]

DISTURBANCES: Final[tuple[Disturbance, ...]] = (
    kill_a_worker,
    kill_every_worker,
    terminate_a_worker,
    pause_a_worker_briefly,
    pause_a_worker_beyond_its_claims,
    kill_the_beats,
    terminate_a_beat,
    flush_redis,
    crash_redis,
    replace_redis_by_an_empty_one,
    stop_the_provider,
)
ON_POSTGRES: Final[tuple[Disturbance, ...]] = (
    restart_postgres,
    crash_postgres,
    crash_postgres_and_a_worker,
    crash_both_stores,
    flush_redis_while_answers_wait_there,
)


def _wait(stage: Stage, at_most_s: float) -> None:
    time.sleep(stage.chance.uniform(0, at_most_s))
