"""Alembic migrations. A migration never breaks the release before it: old code must run on the new schema.

They follow each other in the order of their files, `REVISION_words.py`: what this code needs is known without Alembic.
"""

from pathlib import Path
from typing import Final

#: Oldest first.
REVISIONS: Final = tuple(
    sorted(file.name.partition("_")[0] for file in (Path(__file__).parent / "versions").glob("[0-9]*.py"))
)
HEAD: Final = REVISIONS[-1]
