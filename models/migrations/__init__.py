"""Alembic migrations. A migration never breaks the release before it: old code must run on the new schema."""
