"""What pages point to exists: relative links with their anchors, and paths in backticks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "reader/*.md", "findings/*.md")
    for page in ROOT.glob(pattern)
)
#: Folders of the repository; a path in backticks begins with one of them.
TOP: Final = "benchmarks|deploy|docs|examples|findings|models|reader|tasks|tests|worker"
LINK: Final = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
PATH: Final = re.compile(rf"`((?:{TOP})/[\w./@<>-]*[\w@/])(?:::\w+)?`")
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> Iterator[str]:
    """Yield a page's anchors as GitHub makes them of its headings."""
    for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE):
        words = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", heading).lower()
        yield re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.finditer(text_of(page)):
        target = page.parent / link[1] if link[1] else page
        if not target.exists() or (
            link[2] and target.suffix == ".md" and link[2] not in set(anchors(target))
        ):
            broken.append(link[0])
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_backticks_exist(page: Path) -> None:
    paths = [path[1] for path in PATH.finditer(text_of(page)) if "<" not in path[1]]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_index() -> None:
    linked = {
        (ROOT / "docs" / link[1]).resolve() for link in LINK.finditer((ROOT / "docs/README.md").read_text())
    }
    assert sorted({*(ROOT / "docs").glob("*.md")} - linked - {ROOT / "docs/README.md"}) == []


def test_every_decision_is_in_its_index() -> None:
    folder = ROOT / "docs/decisions"
    linked = {link[1] for link in LINK.finditer((folder / "README.md").read_text())}
    assert {page.name for page in folder.glob("*.md")} - {"README.md"} == linked
