"""The Makefile: it explains itself, and Ctrl-C ends the demo without a word of complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import IO, Final

import pytest

ROOT: Final = Path(__file__).parents[2]

#: Stands where the demo is: says that it runs, and takes Ctrl-C as the demo does, by ending what it started first.
DEMO: Final = """\
    import sys, time
    try:
        print("demo runs", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.3)  # longer than make and the shell need to die of the same Ctrl-C, if they do
        print("demo ended cleanly", flush=True)
        sys.exit({exit_code})
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the Makefile and an environment that is in place."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/venv.sh").touch()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    return tmp_path


def put_demo(checkout: Path, code: str) -> None:
    demo = checkout / ".venv/bin/refreshd"
    demo.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
    demo.chmod(0o755)


def read_until(stream: IO[bytes], text: bytes) -> bytes:
    seen = b""
    while text not in seen and (byte := stream.read(1)):
        seen += byte
    return seen


def test_it_explains_each_target() -> None:
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "make demo" in said
    for target in targets:
        assert re.search(rf"^  make {target} +\S", said, re.MULTILINE), target


@pytest.mark.parametrize("exit_code", [0, 130])
def test_ctrl_c_ends_the_demo_and_nobody_complains(checkout: Path, exit_code: int) -> None:
    put_demo(checkout, DEMO.format(exit_code=exit_code))
    # A terminal of its own, because Ctrl-C reaches make, the shell and the demo at once.
    terminal = [sys.executable, "-c", "import pty; pty.spawn(['make', 'demo'])"]
    with subprocess.Popen(
        terminal, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdin
        assert process.stdout
        assert b"demo runs" in read_until(process.stdout, b"demo runs")
        process.stdin.write(b"\x03")
        process.stdin.flush()
        rest = process.stdout.read().decode()
    assert "demo ended cleanly" in rest
    assert "***" not in rest
    assert "rror" not in rest


def test_a_demo_that_fails_fails_the_target(checkout: Path) -> None:
    put_demo(checkout, "raise SystemExit(4)")
    assert subprocess.run(["make", "demo"], cwd=checkout, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("tests", "types", "succeeds"), [(0, 0, True), (1, 0, False), (0, 1, False), (2, 2, False)]
)
def test_types_are_checked_beside_the_tests_and_fail_the_target_too(
    checkout: Path, tests: int, types: int, *, succeeds: bool
) -> None:
    stubs = {"ruff": 0, "lint-imports": 0, "mypy": types, "python": tests}
    for name, code in stubs.items():
        stub = checkout / ".venv/bin" / name
        stub.write_text(f"#!/bin/sh\necho {name} says {code}\nexit {code}\n")
        stub.chmod(0o755)
    ran = subprocess.run(
        # As where there is no Node.js: npm is not asked for anything.
        ["make", "test", "WITH_OIDC="], cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode == 0) is succeeds
    assert ran.stdout.index(f"python says {tests}") < ran.stdout.index(f"mypy says {types}"), ran.stdout


@pytest.mark.parametrize(("ci", "left_out"), [("", True), ("true", False)])
def test_without_node_js_it_says_what_is_left_out_and_ci_leaves_out_nothing(
    tmp_path: Path, ci: str, left_out: bool
) -> None:
    for name in ("make", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    said = subprocess.run(
        ["make", "-n", "test"], cwd=ROOT, env={"PATH": str(tmp_path), "CI": ci},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert ("LEFT OUT: tests/oidc" in said) is left_out
    assert ("--ignore=tests/oidc" in said) is left_out
