"""The synchronous half of the reader is what reader/hatch_build.py makes of the asyncio half."""

from __future__ import annotations

import importlib.util
import shutil
import tokenize
from pathlib import Path
from typing import Any

import pytest

READER = Path(__file__).parents[3] / "reader"
PACKAGE = READER / "src/refreshd_reader"
MODULES = sorted(file.name for file in (PACKAGE / "_async").glob("*.py"))


@pytest.fixture(scope="module")
def hatch_build() -> Any:
    spec = importlib.util.spec_from_file_location("hatch_build", READER / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE / "_async", tmp_path / "_async")
    return tmp_path


def test_the_installed_half_is_up_to_date(hatch_build: Any, package: Path) -> None:
    hatch_build.generate(package)
    for made in (package / "_sync").iterdir():
        assert made.read_text() == (PACKAGE / "_sync" / made.name).read_text(), "python reader/hatch_build.py"
    assert sorted(file.name for file in (PACKAGE / "_sync").glob("*.py")) == MODULES


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__init__.py"])
def test_nothing_of_asyncio_is_left(name: str) -> None:
    with (PACKAGE / "_sync" / name).open("rb") as file:
        words = {token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME}
    assert not words & {"async", "await", "asyncio", "aclose", "_async"}
    assert not [word for word in words if word.startswith("Async")]


def test_generating_replaces_what_is_stale_and_leaves_what_is_right(hatch_build: Any, package: Path) -> None:
    hatch_build.generate(package)
    right, changed, removed = (package / "_sync" / name for name in ("reader.py", "httpx.py", "removed.py"))
    written_at = right.stat().st_mtime_ns, right.stat().st_ino
    changed.write_text("")
    removed.write_text("")
    hatch_build.generate(package)
    assert (right.stat().st_mtime_ns, right.stat().st_ino) == written_at
    assert changed.read_text().startswith(hatch_build.HEAD)
    assert sorted(file.name for file in (package / "_sync").iterdir()) == MODULES
