"""The lock files: names, versions, hashes; no address; everything that pyproject.toml asks for, at what it allows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT: Final = Path(__file__).parents[2]
RUNTIME: Final = "requirements.lock"
BUILD: Final = "requirements-build.lock"
DEV: Final = "requirements-dev.lock"
NPM: Final = "tests/oidc/package-lock.json"
#: Installed from this checkout, so in no lock.
OURS: Final = {"refreshd", "refreshd-reader"}

PINNED: Final = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; (?P<marker>.+))?")
HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def logical_lines(lock: str) -> list[str]:
    """Return a lock's requirements, each with its hashes on one line, without comments."""
    text = (ROOT / lock).read_text()
    return [
        re.sub(r"\s*\\\n\s*", " ", line)
        for line in re.split(r"(?<!\\)\n", text)
        if line and not line.lstrip().startswith("#")
    ]


def pins(*locks: str) -> dict[str, Version]:
    found: dict[str, Version] = {}
    for lock in locks:
        for line in logical_lines(lock):
            match = PINNED.match(line)
            assert match, f"{lock}: {line[:80]} is no pinned version"
            found[match["name"]] = Version(match["version"])
    return found


def asked_for(file: str, *groups: str, extras: bool = False) -> Iterator[Requirement]:
    """Return what a pyproject.toml asks for, dependency groups' includes resolved (PEP 735)."""
    content: dict[str, Any] = tomllib.loads((ROOT / file).read_text())
    yield from map(Requirement, content["project"]["dependencies"])
    if extras:
        for names in content["project"]["optional-dependencies"].values():
            yield from map(Requirement, names)
    pending = list(groups)
    while pending:
        for item in content["dependency-groups"][pending.pop()]:
            if isinstance(item, str):
                yield Requirement(item)
            else:
                pending.append(item["include-group"])


def test_the_lock_of_npm_names_no_address() -> None:
    text = (ROOT / NPM).read_text()
    assert "://" not in text, "`npm run lock` in tests/oidc writes it without"
    assert "integrity" in text


@pytest.mark.parametrize("lock", [RUNTIME, BUILD, DEV])
def test_a_lock_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert " @ " not in text
    assert not re.search(r"^\s*-", text.replace("    --hash=", ""), re.MULTILINE), (
        "an option, such as an index"
    )


@pytest.mark.parametrize("lock", [RUNTIME, BUILD, DEV])
def test_every_requirement_is_pinned_and_hashed(lock: str) -> None:
    lines = logical_lines(lock)
    assert lines
    for line in lines:
        requirement, *hashes = re.split(r" (?=--hash=)", line)
        assert PINNED.fullmatch(requirement), line[:80]
        assert hashes, f"{requirement} has no hash"
        assert all(HASH.fullmatch(item.strip()) for item in hashes), requirement


@pytest.mark.parametrize(
    ("locks", "requirements"),
    [
        ([RUNTIME], [*asked_for("pyproject.toml"), *asked_for("reader/pyproject.toml")]),
        ([BUILD], [Requirement("hatchling"), Requirement("editables")]),
        (
            [DEV],
            [*asked_for("pyproject.toml", "dev"), *asked_for("reader/pyproject.toml", extras=True)],
        ),
    ],
    ids=["runtime", "build", "dev"],
)
def test_a_lock_holds_all_that_is_asked_for(locks: list[str], requirements: list[Requirement]) -> None:
    locked = pins(*locks)
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name in OURS:
            continue
        assert name in locked, f"{requirement}: run `make lock`"
        assert requirement.specifier.contains(locked[name], prereleases=True), (
            f"{requirement}: run `make lock`"
        )


def test_running_and_developing_use_the_same_versions() -> None:
    developing = pins(DEV)
    for name, version in pins(RUNTIME, BUILD).items():
        assert developing.get(name) == version, name


def test_our_own_projects_are_in_no_lock() -> None:
    assert not OURS & pins(RUNTIME, BUILD, DEV).keys()
