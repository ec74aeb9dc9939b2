"""`doctor` on real stores: each thing is broken for real, and it says which, and what to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from models.migrations import HEAD
from models.tables.outbox import Message
from tests.integration.conftest import Bench
from tests.support.waiting import wait_until
from worker.callbacks.catalog import CallbackCatalog
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.celery.inspect import namesakes, shared_keys, together
from worker.context import AppContext
from worker.crypto.cipher import generate_key
from worker.db.engine import writing
from worker.db.outbox import DeliveryOutcome
from worker.diagnostics.doctor import CheckResult, Level, run_checks
from worker.redis.counts import LiveWorkers
from worker.settings import Settings

ALL: Mapping[str, Sequence[str]] = {"celery@one": ["control", "refresh", "urgent"]}


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(sqlite_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=tmp_path,
    )


def checked(settings: Settings, staff: LiveWorkers | None, *, ahead_s: float = 0.0) -> list[CheckResult]:
    here = AppContext(settings)
    if ahead_s:
        here.engine  # noqa: B018  (sets the clock)
        here.clock.set(time.time() - ahead_s)
    found = list(run_checks(here, lambda: staff))
    here.close()
    assert all(one.hint for one in found if one.level is not Level.OK)
    return found


def failed(settings: Settings, workers: Mapping[str, Sequence[str]] | None = ALL) -> dict[str, str]:
    staff = None if workers is None else LiveWorkers(workers, beats=1)
    return {one.check: one.message for one in checked(settings, staff) if one.level is Level.FAILED}


def test_a_worker_that_lacks_a_key_is_named(bench: Bench, settings: Settings) -> None:
    bench.add()
    mine = key_id(settings)
    answers: list[dict[str, object]] = [
        {"lacks@one": {"key_ids": ["old"]}},
        {"has@one": {"key_ids": [mine, "old"]}},
        {"older@one": {"error": "no such command"}},
        {"celerybeat@one": {"error": "no such command"}},
        {"twin@one": {"key_ids": [mine]}},
        {"twin@one": {"key_ids": ["old"]}},
    ]
    found = checked(settings, LiveWorkers(ALL, beats=1, keys=shared_keys(answers)))
    assert [
        (one.level, one.message) for one in found if one.check == "keys" and one.level is not Level.OK
    ] == [
        (
            Level.FAILED,
            f"{name} lacks key {mine!r}, which sealed 3 values: accounts that it refreshes become misconfigured (key_missing)",
        )
        if name != "older@one"
        else (Level.WARNING, "older@one does not say which keys it has: it is of an older release")
        for name in ("lacks@one", "older@one", "twin@one")
    ]


def test_a_worker_that_lacks_the_key_of_the_next_rotation_is_named_before_it(settings: Settings) -> None:
    assert settings.keys is not None
    both = changed(settings, keys=SecretStr(f"{generate_key('new')},{settings.keys.get_secret_value()}"))
    staff = LiveWorkers(ALL, beats=1, keys={"one@vm": frozenset({key_id(settings)})})
    assert [
        one.message for one in checked(both, staff) if one.check == "keys" and one.level is Level.WARNING
    ] == ["one@vm lacks key 'new', which commands here seal with: it opens nothing that they store"]


def test_workers_of_one_name_are_told_and_each_counts(settings: Settings) -> None:
    answers: list[dict[str, object]] = [
        {"celery@one": [{"name": "urgent"}, {"name": "control"}, {"name": "refresh"}]},
        {"celery@one": [{"name": "callback"}]},
        {"celerybeat@one": {"error": "no such command"}},
    ]
    staff = LiveWorkers(together(answers), beats=1, namesakes=namesakes(answers))
    found = [one for one in checked(settings, staff) if one.check == "workers"]
    assert [one.message for one in found] == [
        "celery@one takes urgent, control, refresh, callback",
        "more than one worker is called celery@one: Flower shows one of them, and they share one liveness file",
    ]
    assert "-n refresh@%h" in found[1].hint


def warned(settings: Settings, *, beats: int = 1, ahead_s: float = 0.0) -> dict[str, str]:
    found = checked(settings, LiveWorkers(ALL, beats=beats), ahead_s=ahead_s)
    return {one.check: one.message for one in found if one.level is Level.WARNING}


def changed(settings: Settings, **update: Any) -> Settings:
    """Return other settings: a copy would keep what was derived from the old ones."""
    return Settings(**(settings.model_dump() | update))


def execute(bench: Bench, statement: str) -> None:
    with writing(bench.runtime.engine) as connection:
        connection.execute(text(statement))


def test_a_fleet_that_was_never_planned_fails(settings: Settings) -> None:
    assert failed(settings) == {"beat": "nothing was ever planned; 1 beat is alive"}


def test_the_hint_names_a_worker_or_the_beat_by_which_of_them_is_missing(settings: Settings) -> None:
    found = {one.check: one for one in checked(settings, LiveWorkers({}, beats=1))}
    assert found["beat"].hint.startswith("start a worker that takes from `control`")
    found = {one.check: one for one in checked(settings, LiveWorkers(ALL, beats=0))}
    assert found["beat"].hint.startswith("start `celery -A worker.app beat`")


def test_where_beat_and_a_worker_are_there_the_workers_log_says_why_nothing_is_planned(
    settings: Settings,
) -> None:
    found = {one.check: one for one in checked(settings, LiveWorkers(ALL, beats=1))}
    hint = found["beat"].hint
    assert hint.startswith("look into the log of celery@one")
    assert "`message_refused`" in hint
    assert "REFRESHD_DATABASE_URL" in hint


def test_beats_beside_each_other_are_worth_a_look(settings: Settings) -> None:
    assert warned(settings, beats=2)["beat"].startswith("2 beats are alive")


def test_proofs_of_possession_that_fail_are_counted(bench: Bench, settings: Settings) -> None:
    for number, reason in enumerate(["dpop_key_unfit", "dpop_key_unfit", "invalid_client"]):
        bench.add(f"acct-{number}", status="misconfigured", reason=reason)
    assert warned(settings)["proofs of possession"].startswith(
        "acme: 2 accounts: The account's `dpop_key` is"
    )


def test_a_queue_that_nobody_takes_from_is_named(settings: Settings) -> None:
    assert failed(settings, {"w": ["refresh"]})["workers"] == "no worker takes from urgent, control"


def test_no_worker_at_all(settings: Settings) -> None:
    assert failed(settings, None)["workers"] == "no worker takes from urgent, control, refresh"


def test_a_callback_account_needs_a_callback_worker(bench: Bench, settings: Settings) -> None:
    bench.add(refresh_method="callback", callback="acme")
    assert failed(settings)["workers"] == "no worker takes from callback"


def test_machines_that_do_not_share_their_sqlite_file_are_named(settings: Settings) -> None:
    found = failed(settings, {**ALL, "celery@two": ["refresh"]})
    assert found["workers"].startswith("workers on 2 machines (one, two), and the database is a SQLite file")


def test_a_callback_that_only_some_workers_know_fails_where_the_others_get_it(
    bench: Bench, settings: Settings
) -> None:
    bench.add(refresh_method="callback", callback="acme")
    known = {"acme": {"kind": "python", "where": "acme.py:1"}}
    presence = CallbackHeartbeats(bench.runtime.redis, settings.redis_prefix)
    presence.announce("c@one", CallbackCatalog.from_json({"callbacks": known, "problems": {}}))
    presence.announce("c@two", CallbackCatalog.from_json({"callbacks": {}, "problems": {}}))
    found = failed(settings, {**ALL, "c@one": ["callback"], "c@two": ["callback"]})
    assert found["callbacks"].startswith("acme: not known to c@two")


def key_id(settings: Settings) -> str:
    assert settings.keys is not None
    return settings.keys.get_secret_value().partition(":")[0]


def test_a_missing_key_is_counted(bench: Bench, settings: Settings) -> None:
    bench.add()
    other = changed(settings, keys=SecretStr(generate_key("other")))
    assert (
        failed(other)["keys"] == f"3 values are sealed with key '{key_id(settings)}', which is not configured"
    )


def test_a_redis_that_evicts_is_a_danger(bench: Bench, settings: Settings) -> None:
    bench.runtime.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "allkeys-lru" in failed(settings)["redis eviction"]
    finally:
        bench.runtime.redis.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0"])
def test_an_unreachable_redis_is_said_with_its_remedy(settings: Settings, url: str) -> None:
    assert "Connection refused" in failed(changed(settings, redis_url=SecretStr(url)))["redis"]


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_redis_that_refuses_the_login_is_there(settings: Settings, password: str) -> None:
    assert settings.redis_url is not None
    url = re.sub(r":[^/@]+@", password, settings.redis_url.get_secret_value(), count=1)
    found = {one.check: one for one in checked(changed(settings, redis_url=SecretStr(url)), None)}
    assert found["redis"].hint.startswith("it is there and refuses the login")


def test_what_only_redis_could_tell_is_not_called_missing(settings: Settings) -> None:
    away = changed(settings, redis_url=SecretStr("redis://127.0.0.1:1/0"))
    found = {one.check: one for one in checked(away, LiveWorkers(ALL, beats=1))}
    assert found["beat"].message.endswith("beats not checked: Redis is away")
    assert found["beat"].hint.startswith("mend Redis first")
    for check in ("workers", "gates", "callbacks"):
        assert (found[check].level, found[check].message) == (Level.WARNING, "not checked: Redis is away")


def test_a_key_of_the_right_id_and_other_bytes_is_found(bench: Bench, settings: Settings) -> None:
    bench.add()
    found = failed(changed(settings, keys=SecretStr(generate_key(key_id(settings)))))
    assert found["keys"].startswith("3 values of the first 1 accounts do not open: ")


def test_a_schema_that_is_behind_is_told_how_to_follow(bench: Bench, settings: Settings) -> None:
    execute(bench, "UPDATE alembic_version SET version_num = '0001'")
    (database,) = [one for one in checked(settings, None) if one.check == "database"]
    assert (database.level, "0001" in database.message) == (Level.FAILED, True)
    assert database.hint.startswith("`refreshd db upgrade`")


def test_a_schema_that_is_newer_is_said(bench: Bench, settings: Settings) -> None:
    execute(bench, "UPDATE alembic_version SET version_num = 'from_tomorrow'")
    (database,) = [one for one in checked(settings, None) if one.check == "database"]
    assert database.level is Level.OK
    assert database.message.endswith(f"revision from_tomorrow, newer than this code's {HEAD}")


def test_a_database_that_takes_no_writes_is_told_apart(settings: Settings, postgres_url: str) -> None:
    there = changed(settings, database_url=SecretStr(postgres_url))
    made = Bench(there)
    with writing(made.runtime.engine) as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    made.runtime.close()
    assert "read-only transaction" in failed(there)["database writes"]


def test_clocks_that_are_off_are_measured(settings: Settings) -> None:
    words = [one.message for one in checked(settings, None, ahead_s=7.0) if one.check == "clock"]
    assert [one.partition(":")[0] for one in words] == [
        "this machine's clock is +7.0 s off the database's",
        "Redis' clock is +7.0 s off the database's",
    ]


@pytest.fixture
def server(bench: Bench) -> Any:
    return bench.runtime.redis


def test_a_replica_takes_no_writes(server: Any, settings: Settings) -> None:
    server.replicaof("127.0.0.1", "1")
    try:
        assert failed(settings)["redis writes"].startswith("it is a replica of 127.0.0.1:1")
    finally:
        server.replicaof("NO", "ONE")


def test_a_redis_that_is_nearly_full_is_worth_a_look(server: Any, settings: Settings) -> None:
    server.config_set("maxmemory", int(server.info()["used_memory"] * 1.05))
    try:
        assert "of its maxmemory are used" in warned(settings)["redis memory"]
    finally:
        server.config_set("maxmemory", 0)


@contextmanager
def unsaved(server: Any) -> Iterator[None]:
    """Have a folder stand where Redis saves, so that it can't, until the block ends."""
    file = Path(server.config_get("dir")["dir"]) / server.config_get("dbfilename")["dbfilename"]
    file.unlink(missing_ok=True)
    file.mkdir()
    try:
        save(server)
        yield
    finally:
        file.rmdir()
        save(server)


def save(server: Any) -> None:
    server.bgsave()
    wait_until(lambda: not server.info()["rdb_bgsave_in_progress"], "the end of a save")


def test_a_redis_that_can_not_save_is_about_to_refuse(server: Any, settings: Settings) -> None:
    with unsaved(server):
        assert "rdb_last_bgsave_status" in failed(settings)["redis writes"]
    assert "redis writes" not in failed(settings)


def test_a_redis_that_keeps_nothing_over_a_restart_is_worth_a_look(server: Any, settings: Settings) -> None:
    before = server.config_get("appendonly")["appendonly"]
    server.config_set("appendonly", "no")
    try:
        assert warned(settings)["redis persistence"].startswith("appendonly is off")
    finally:
        server.config_set("appendonly", before)


def _open_to_all(settings: Settings, folder: Path) -> Settings:
    keys = folder / "keys"
    keys.write_text(generate_key())
    keys.chmod(0o644)
    return changed(settings, keys=None)


def _same_key(settings: Settings, folder: Path) -> Settings:  # noqa: ARG001
    return changed(settings, publish_keys=settings.keys)


def _broken_callbacks_file(settings: Settings, folder: Path) -> Settings:
    file = folder / "callbacks.yaml"
    file.write_text("acme: {url: https://a.example, secret_env: NOT_SET_ANYWHERE}\n")
    return changed(settings, callbacks_file=file)


def _with(**update: Any) -> Callable[[Settings, Path], Settings]:
    return lambda settings, _: changed(settings, **update)


CONTRADICTIONS: dict[str, tuple[Callable[[Settings, Path], Settings], Level]] = {
    "comes again after 3600 s": (_with(claim_s=2_000), Level.WARNING),
    "may begin refreshes of short tokens too late": (_with(plan_interval_s=60, call_timeout_s=30), Level.WARNING),
    "there is no file /not/there.pem": (_with(ca_file=Path("/not/there.pem")), Level.FAILED),
    "names old.example: secrets go there unencrypted": (
        _with(allow_http_hosts=("old.example", "localhost", "127.0.0.1")), Level.WARNING
    ),
    "can be read by others than its owner (mode 644)": (_open_to_all, Level.WARNING),
    "is a key of REFRESHD_KEYS, too": (_same_key, Level.FAILED),
    "NOT_SET_ANYWHERE": (_broken_callbacks_file, Level.FAILED),
    "REFRESHD_PROVIDERS_FILE": (_with(providers_file=Path("/not/there.yaml")), Level.FAILED),
}  # fmt: skip


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_named(
    words: str, settings: Settings, tmp_path: Path
) -> None:
    make, level = CONTRADICTIONS[words]
    found = [one for one in checked(make(settings, tmp_path), LiveWorkers(ALL, 1)) if one.check == "settings"]
    assert [(one.level, words in one.message) for one in found] == [(level, True)]
    assert [one.level for one in checked(settings, LiveWorkers(ALL, 1)) if one.check == "settings"] == [
        Level.OK
    ]


def test_a_webhook_that_does_not_take_what_it_is_sent_is_named(settings: Settings) -> None:
    here = AppContext(settings)
    message = Message(
        id="msg_1", endpoint="hooks.example-1", type="degraded", topic="t", subject="s", body="{}"
    )
    here.outbox.add([message])
    here.outbox.settle([DeliveryOutcome("msg_1", "hooks.example-1", 500, "HTTP 500", 60)])

    (found,) = [one for one in run_checks(here, lambda: LiveWorkers(ALL, 1)) if one.check == "webhooks"]
    here.close()

    assert found.level is Level.WARNING
    assert "1 waiting, 0 dead-lettered; the last attempt got: HTTP 500" in found.message
