"""Going back a release: the older program starts on the newer schema, and leaves it as it is."""

from __future__ import annotations

from sqlalchemy import text

from worker.db.engine import check_schema, make_engine, writing
from worker.db.migrate import upgrade

#: A revision that only a later release knows.
NEWER = "9999"


def test_the_older_release_starts_on_the_newer_schema_and_leaves_it(database_url: str) -> None:
    engine = make_engine(database_url)
    try:
        with writing(engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :newer"), {"newer": NEWER})
        assert upgrade(database_url) == (NEWER, NEWER)
        check_schema(engine)
    finally:
        engine.dispose()


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    before, after = upgrade(database_url)
    assert before == after
