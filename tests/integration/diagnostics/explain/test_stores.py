"""`explain` where a store, a key, a clock or a certificate is the cause."""

from __future__ import annotations

import json
import re
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, text

from models.tables.account import RefreshMethod
from models.tables.attempt import Trigger
from models.token import Secret
from refreshd_reader.contract import Keys
from tests.integration.conftest import Bench
from tests.integration.diagnostics.explain.desk import AccountServices, changed
from tests.integration.refresh.test_refresher import granted
from tests.support.providers.certificates import Authority
from worker.crypto.cipher import generate_key
from worker.db.engine import reading, writing
from worker.errors import UnknownAccount
from worker.providers.client import ProviderClient


def test_a_clock_that_is_wrong(desk: AccountServices) -> None:
    desk.good()
    cause, shown = desk.first(ahead_s=7.0)
    assert cause == "clock_skew"
    assert "clock is 7.0 s ahead of the database's" in shown
    assert "NTP" in shown


def test_a_key_that_is_missing_here(desk: AccountServices) -> None:
    desk.good()
    other = changed(desk.settings, {"keys": SecretStr(generate_key("other"))})
    cause, shown = desk.first(other)
    assert cause == "key_missing"
    assert "`refreshd keys check`" in shown


def test_a_key_that_a_worker_did_not_have(desk: AccountServices) -> None:
    desk.good()
    other = changed(desk.settings, {"keys": SecretStr(generate_key("other"))})
    elsewhere = Bench(other)
    try:
        elsewhere.refresh(seen=2, trigger=Trigger.FORCED)
    finally:
        elsewhere.runtime.close()
    mine = frozenset(desk.bench.runtime.cipher.key_ids)
    desk.execute("UPDATE attempt SET closed_at = closed_at - 150 WHERE reason = 'key_missing'")
    at_its_last_try = re.compile(r"at its last try, 2m \d+s ago, they did not on the worker that tried: ")
    said: dict[str, str] = {}
    for state, desk.worker_keys in {
        "untold": None,
        "lacks": {"a@vm": mine, "b@vm": frozenset({"other"})},
        "mended": {"a@vm": mine, "b@vm": mine | {"other"}},
        "older": {"a@vm": mine, "b@vm": None},
    }.items():
        cause, said[state] = desk.first()
        assert cause == "key_missing_on_a_worker"
        assert at_its_last_try.search(said[state]), said[state]
    assert f"but not on b@vm: no key {next(iter(mine))!r} there now" in said["lacks"]
    assert "every worker that answers has their keys now" in said["mended"]
    assert "restart them" not in said["mended"]
    assert "restart them" in said["untold"]
    assert "restart them" in said["older"]


def test_redis_away(desk: AccountServices) -> None:
    desk.good()
    cause, shown = desk.first(changed(desk.settings, {"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    assert cause == "redis_unreachable"
    assert "REFRESHD_REDIS_URL" in shown


def test_a_redis_that_refuses_is_not_away(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="acme")
    other = SecretStr(desk.settings.redis.replace("//", "//somebody:wrong@", 1))
    cause, shown = desk.first(changed(desk.settings, {"redis_url": other}))
    assert cause == "redis_refuses"
    assert "answers, and refuses what is asked of it" in shown
    assert "deploy/redis/users.acl" in shown
    assert "No running worker knows" not in shown


def test_a_connector_that_was_told_no_prefix_reads_another_token(desk: AccountServices) -> None:
    desk.good()
    desk.execute("UPDATE account SET published_generation = generation")  # as the next commit notes it
    cause, shown = desk.first(changed(desk.settings, {"redis_prefix": "second:"}))
    assert cause == "another_redis"
    assert "prefix `second:`) has never heard of this account" in shown
    assert "under the prefix `refreshd:`, too (generation 2)" in shown
    assert "prefix='second:'" in shown


def test_a_sealed_token_needs_the_publish_key(desk: AccountServices) -> None:
    sealed = changed(desk.settings, {"publish_keys": SecretStr(generate_key("p1"))})
    made = Bench(sealed)
    made.add()
    made.answer = granted
    made.refresh()
    made.runtime.close()
    cause, shown = desk.first(sealed)
    assert cause == ""
    assert "sealed with the publish key `p1`" in shown


def test_a_database_that_takes_no_writes(desk: AccountServices, postgres_url: str) -> None:
    made = Bench(changed(desk.settings, {"database_url": SecretStr(postgres_url)}))
    made.add()
    with writing(made.runtime.engine) as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    made.runtime.close()
    cause, shown = desk.first(changed(desk.settings, {"database_url": SecretStr(postgres_url)}))
    assert cause == "database_read_only"
    assert "read-only" in shown
    assert "`refreshd doctor`" in shown


def test_a_full_disk(desk: AccountServices) -> None:
    """A limit on this process' files stands in for the disk: SQLite's log can't grow any more."""
    desk.bench.add()
    desk.beats()
    wal = Path(f"{make_url(desk.settings.database).database}-wal")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with reading(desk.bench.runtime.engine) as connection:
        connection.execute(text("SELECT count(*) FROM account"))  # a reader: the log can't begin anew
        resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size, limits[1]))
        try:
            facts = desk.gathered()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    cause, shown = desk.said(facts)
    assert cause == "database_read_only"
    assert "no attempt can be opened" in shown
    assert "Give the database disk space" in shown


def test_a_sqlite_file_that_can_only_be_read(desk: AccountServices) -> None:
    desk.bench.add()
    desk.beats()
    path = make_url(desk.settings.database).database
    url = f"sqlite:///file:{path}?mode=ro&uri=true"
    cause, shown = desk.said(desk.gathered(changed(desk.settings, {"database_url": SecretStr(url)})))
    assert cause == "database_read_only"
    assert "attempt to write a readonly database" in shown


def test_an_answer_that_waits_in_redis_is_not_to_be_deleted(desk: AccountServices) -> None:
    desk.good()
    desk.bench.runtime.redis.set(Keys().stash("acct"), "sealed with what nobody has")
    cause, shown = desk.first()
    assert cause == "answer_in_stash"
    assert "Do not delete it" in shown


def test_an_id_in_another_case_is_guessed(desk: AccountServices) -> None:
    desk.bench.add("Acct")
    with pytest.raises(UnknownAccount, match="Did you mean 'Acct'"):
        desk.gathered()


def test_a_shown_page_holds_no_secret(desk: AccountServices) -> None:
    desk.good(
        custom_fields_sealed=desk.bench.runtime.sealer.seal(
            "acct", "custom_fields", Secret('{"a": "hidden"}')
        )
    )
    _, shown = desk.first()
    assert not [word for word in ("new-access", "new-refresh", "client-secret", "hidden") if word in shown]


# --- mutual TLS ----------------------------------------------------------------------------------------


@contextmanager
def refusing(authority: Authority, folder: Path) -> Iterator[str]:
    """Run a provider that asks for a certificate of an authority, and refuses every other by an alert; give its URL."""
    context = authority.server_context(folder, authority.sign("localhost"), asks_client=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 tells a client after it has sent its request

    def refuse() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/token"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("ends_in", "words"),
    [
        (timedelta(hours=-36), "Its client certificate ended 1.5 days ago."),
        (timedelta(days=3), "probably it is not registered there."),
    ],
)
def test_a_client_certificate_that_the_provider_refuses(
    desk: AccountServices, tmp_path: Path, ends_in: timedelta, words: str
) -> None:
    authority, ca_file = Authority(), tmp_path / "ca.pem"
    ca_file.write_text(authority.certificate)
    signs = authority if ends_in < timedelta() else Authority("another authority")
    shown = signs.sign("client", ends_in=ends_in)
    fields = json.dumps({"client_certificate": shown.certificate, "client_key": shown.key})
    client = ProviderClient(ca_file=ca_file)
    desk.bench.runtime.callers[RefreshMethod.BODY] = client
    with refusing(authority, tmp_path) as url:
        desk.bench.add(
            client_auth="mtls",
            token_url=url,
            custom_fields_sealed=desk.bench.seal("acct", "custom_fields", fields),
        )
        desk.bench.refresh()
        desk.bench.runtime.run(client.aclose())
    cause, page = desk.first()
    assert cause == "client_refused", page
    assert words in page
    assert "custom_fields.client_certificate=@FILE custom_fields.client_key=@FILE`" in page
    assert shown.certificate.splitlines()[1] not in page


@pytest.mark.parametrize(
    ("ends_in", "words", "wrong"),
    [
        (timedelta(hours=47.5), "Its client certificate ends in 47 h", False),
        (timedelta(hours=-5.5), "Its client certificate ended 6 h ago", True),
    ],
)
def test_a_client_certificate_that_ends_is_told_before_the_provider_does(
    desk: AccountServices, ends_in: timedelta, words: str, wrong: bool
) -> None:
    shown = Authority().sign("client", ends_in=ends_in)
    fields = json.dumps({"client_certificate": shown.certificate, "client_key": shown.key})
    sealed = desk.bench.seal("acct", "custom_fields", fields)
    desk.good(client_auth="mtls", custom_fields_sealed=sealed)
    cause, page = desk.first()
    assert cause == "client_certificate_ends"
    assert words in page
    assert ("What is wrong" in page) is wrong
    assert ("Worth knowing" in page) is not wrong
