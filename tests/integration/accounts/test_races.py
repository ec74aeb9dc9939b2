"""Somebody stores a generation between our reading and our writing: it is never overwritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from models.tables.audit import Action, Actor
from tests.integration.accounts.conftest import AccountServices, Refreshd, acme
from worker.accounts.apply import Intent
from worker.accounts.editor import AlreadyThere, Busy, Editor
from worker.accounts.entry import AccountEntry, read_entry
from worker.accounts.formats.row import Raw
from worker.accounts.importer import Importer
from worker.accounts.publisher import CommandPublisher
from worker.accounts.token_precedence import ImportOutcome
from worker.clock import Clock
from worker.context import AppContext
from worker.db.accounts.stored import Accounts
from worker.db.records.acts import RunningEntry
from worker.settings import load_settings

Rotate = Callable[..., None]
Stored = Callable[[str], str | None]


MIA = Actor("mia", "desk-1")


class Raced(Accounts):
    """The table, on which something else happens right before we write."""

    happens: Callable[[], object] = staticmethod(lambda: None)

    def save(self, *args: Any) -> set[str]:
        self.happens()
        return super().save(*args)


class Office:
    """Whoever writes, on a table where others write too."""

    def __init__(self, desk: AccountServices, here: AppContext, publisher: CommandPublisher) -> None:
        self.accounts = Raced(here.engine)
        self.editor = Editor(
            accounts=self.accounts,
            applier=desk.applier,
            publisher=publisher,
            clock=Clock(),
            actor=MIA,
            twins=None,
        )
        self.importer = Importer(
            accounts=self.accounts,
            applier=desk.applier,
            publisher=publisher,
            clock=Clock(),
            intent=Intent.FILE,
            entry=RunningEntry(here.engine, MIA, Action.IMPORT, {}),
            twins=None,
        )


@pytest.fixture
def office(desk: AccountServices, stores: redis.Redis) -> Iterator[Office]:
    here = AppContext(load_settings())
    assert stores.ping()
    with CommandPublisher(
        redis_url=lambda: here.settings.redis, keys=here.keys, store=here.publication_store
    ) as publisher:
        yield Office(desk, here, publisher)
    here.engine.dispose()


def once(happens: Callable[[], object]) -> Callable[[], object]:
    turns = iter([True])
    return lambda: happens() if next(turns, False) else None


def test_an_import_begins_again_with_what_a_worker_stored(
    office: Office, rotate: Rotate, refresh_token: Stored
) -> None:
    office.editor.add(read_entry(acme("a")))
    office.accounts.happens = once(lambda: rotate("a", "rotated-meanwhile"))
    summary = office.importer.run([Raw(1, acme("a", refresh_token="other"))])
    assert dict(summary.counts) == {ImportOutcome.KEPT_NEWER: 1}
    assert refresh_token("a") == "rotated-meanwhile"


def test_a_new_row_whose_id_was_taken_meanwhile_is_compared_with_what_is_there(office: Office) -> None:
    other = Accounts(office.accounts._engine)
    added = office.editor._applier.add(read_entry(acme("a")), retired=0, now=1.0).account
    office.accounts.happens = once(lambda: other.save([added]))
    summary = office.importer.run([Raw(1, acme("a"))])
    assert dict(summary.counts) == {ImportOutcome.UNCHANGED: 1}


def test_a_row_that_is_never_still_is_named(office: Office, rotate: Rotate, refresh_token: Stored) -> None:
    office.editor.add(read_entry(acme("a")))
    numbers = iter(range(100))
    office.accounts.happens = lambda: rotate("a", f"rotated-{next(numbers)}")
    summary = office.importer.run([Raw(1, acme("a", session_timeout_s=60))])
    assert dict(summary.counts) == {ImportOutcome.FAILED: 1}
    assert "changed again and again" in summary.errors[0].problem.reason
    with pytest.raises(Busy, match="try again"):
        office.editor.edit(AccountEntry("a", settings={"session_timeout_s": 60.0}))
    assert refresh_token("a") == "rotated-24"


def test_an_edit_keeps_the_tokens_that_a_worker_stored_meanwhile(
    office: Office, rotate: Rotate, refresh_token: Stored, refreshd: Refreshd
) -> None:
    office.editor.add(read_entry(acme("a")))
    office.accounts.happens = once(lambda: rotate("a", "rotated-meanwhile"))
    applied = office.editor.edit(AccountEntry("a", settings={"session_timeout_s": 60.0}))
    assert (applied.account.generation, applied.account.session_timeout_s) == (2, 60.0)
    assert refresh_token("a") == "rotated-meanwhile"
    assert refreshd("accounts", "show", "a", "--json").json["session_timeout_s"] == 60.0


def test_an_id_that_is_taken_meanwhile_is_not_added(office: Office) -> None:
    other = Accounts(office.accounts._engine)
    added = office.editor._applier.add(read_entry(acme("a")), retired=0, now=1.0).account
    office.accounts.happens = lambda: other.save([added])
    with pytest.raises(AlreadyThere):
        office.editor.add(read_entry(acme("a", provider="other")))
