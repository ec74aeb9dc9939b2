"""Keys rotate while workers run; what does not open stays as it is and is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session

from models.tables.account import Account
from models.tables.client import Client
from models.tables.issuer import REGISTRATION, ClientRegistration
from models.token import Secret
from refreshd_reader.contract import Keys
from worker.crypto.cipher import Cipher, generate_key, key_of, parse_keys
from worker.crypto.sealer import AccountSealer
from worker.db.accounts.clients import Clients
from worker.db.engine import make_engine, reading, writing
from worker.db.intake.issuers import Registrations
from worker.db.repair.rekey import check, rotate, sealed_with
from worker.redis.client import connect
from worker.redis.pending_answers import waiting_by_key

OLD, NEW, LOST = (generate_key(name) for name in ("old", "new", "lost"))


def cipher(*keys: str) -> Cipher:
    return Cipher(parse_keys(",".join(keys)))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


def add(engine: Engine, account: str, box: Cipher, client: str = "cs") -> None:
    with writing(engine) as connection, Session(connection) as session:
        session.add(
            Account(
                id=account,
                provider="acme",
                refresh_token_sealed=box.seal(
                    Secret(f"rt-{account}"), account=account, field="refresh_token"
                ),
                client_secret_sealed=box.seal(Secret(client), account=account, field="client_secret"),
            )
        )
        session.flush()


def sealed(engine: Engine, account: str) -> str:
    with reading(engine) as connection:
        return str(
            connection.execute(
                text("SELECT refresh_token_sealed FROM account WHERE id = :id"), {"id": account}
            ).scalar_one()
        )


def test_everything_is_sealed_with_the_first_key_and_opens(engine: Engine) -> None:
    for number in range(5):
        add(engine, f"a{number}", cipher(OLD))
    both = cipher(NEW, OLD)

    done = list(rotate(engine, both))

    assert sum(one.resealed for one in done) == 10
    assert sealed_with(engine) == {"new": 10}
    assert cipher(NEW).open(sealed(engine, "a3"), account="a3", field="refresh_token") == Secret("rt-a3")
    assert sum(one.resealed for one in rotate(engine, both)) == 0


def test_an_empty_value_is_a_value(engine: Engine) -> None:
    add(engine, "a", cipher(OLD), client="")

    list(rotate(engine, cipher(NEW, OLD)))

    assert sealed_with(engine) == {"new": 2}


def test_what_a_worker_stored_meanwhile_is_not_overwritten(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(engine, "a", cipher(OLD))
    both = cipher(NEW, OLD)
    newer = both.seal(Secret("newer"), account="a", field="refresh_token")
    opened = both.open

    def store_meanwhile(value: str, *, account: str, field: str) -> Secret:
        with writing(engine) as connection:
            connection.execute(text("UPDATE account SET refresh_token_sealed = :newer"), {"newer": newer})
        return opened(value, account=account, field=field)

    monkeypatch.setattr(both, "open", store_meanwhile)
    list(rotate(engine, both))

    assert sealed(engine, "a") == newer


def test_rows_whose_key_is_missing_are_named_and_kept(engine: Engine) -> None:
    add(engine, "a", cipher(OLD))
    add(engine, "b", cipher(LOST))
    before = sealed(engine, "b")

    (one,) = rotate(engine, cipher(NEW, OLD))

    assert {(bad.account, bad.field) for bad in one.unreadable} == {
        ("b", "refresh_token"),
        ("b", "client_secret"),
    }
    assert sealed(engine, "b") == before
    assert key_of(sealed(engine, "a")) == "new"
    (checked,) = check(engine, cipher(NEW))
    assert {bad.account for bad in checked.unreadable} == {"b"}


def test_an_answer_that_is_kept_beside_the_row_counts_for_its_key_and_is_sealed_anew(engine: Engine) -> None:
    """Whoever took a key out that only a kept answer needs would lose the grant in it."""
    add(engine, "a", cipher(NEW))
    kept = cipher(OLD).seal(Secret("{}"), account="a", field="stash")
    with writing(engine) as connection:
        connection.execute(text("UPDATE account SET kept_sealed = :kept"), {"kept": kept})
    assert sealed_with(engine) == {"new": 2, "old": 1}

    list(rotate(engine, cipher(NEW, OLD)))

    assert sealed_with(engine) == {"new": 3}


def test_a_rotation_that_was_killed_between_two_batches_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.db.repair.rekey.BATCH", 2)
    for number in range(5):
        add(engine, f"a{number}", cipher(OLD))
    both = cipher(NEW, OLD)
    killed = rotate(engine, both)
    next(killed)
    next(killed)
    del killed

    assert sealed_with(engine) == {"new": 8, "old": 2}
    assert sum(one.resealed for one in rotate(engine, both)) == 2
    assert sealed_with(engine) == {"new": 10}


def test_answers_that_wait_in_redis_are_counted_by_key(redis_url: str) -> None:
    with connect(redis_url) as redis:
        keys = Keys("own[1]:")
        redis.set(keys.stash("a"), cipher(OLD).seal(Secret("{}"), account="a", field="stash"))
        redis.set(keys.stash("b"), cipher(NEW).seal(Secret("{}"), account="b", field="stash"))
        redis.set(Keys("other:").stash("c"), "v1.lost.x")

        assert waiting_by_key(redis, keys) == {"new": 1, "old": 1}


def test_the_secret_of_a_client_is_sealed_anew_checked_and_counted(engine: Engine) -> None:
    old, both, new = cipher(OLD), cipher(NEW, OLD), cipher(NEW)
    clients = Clients(engine)
    clients.save(Client(name="public", provider="acme"), seen=None)
    sealed_once = AccountSealer(old).seal_client_secret("crm", Secret("hush"))
    clients.save(Client(name="crm", provider="acme", client_secret_sealed=sealed_once), seen=None)
    assert sealed_with(engine) == {"old": 1}
    (unreadable,) = [bad for one in check(engine, new) for bad in one.unreadable]
    assert (unreadable.account, unreadable.field) == ("crm", "client")

    assert sum(one.resealed for one in rotate(engine, both)) == 1

    assert sealed_with(engine) == {"new": 1}
    assert [bad for one in check(engine, new) for bad in one.unreadable] == []
    secret = AccountSealer(new).client_secret(clients.find(["crm"])["crm"])
    assert secret is not None
    assert secret.reveal() == "hush"


def test_the_token_of_a_registration_is_sealed_anew_and_ends_with_its_client(engine: Engine) -> None:
    old, both, new = cipher(OLD), cipher(NEW, OLD), cipher(NEW)
    clients, registrations = Clients(engine), Registrations(engine)
    clients.save(Client(name="mcp", provider="issuer"), seen=None)
    sealed_once = old.seal(Secret("manages"), account="mcp", field=REGISTRATION)
    registrations.save(
        ClientRegistration(
            client="mcp",
            issuer="https://as.example.com",
            redirect_uri="http://127.0.0.1:1/callback",
            registration_access_token_sealed=sealed_once,
        )
    )
    assert sealed_with(engine) == {"old": 1}

    assert sum(one.resealed for one in rotate(engine, both)) == 1

    stored = registrations.find("mcp")
    assert stored is not None
    sealed_now = stored.registration_access_token_sealed or ""
    assert new.open(sealed_now, account="mcp", field=REGISTRATION) == Secret("manages")
    assert clients.remove("mcp") == 0
    assert registrations.find("mcp") is None
