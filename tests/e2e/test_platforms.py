"""The FastAPI platform by its one command, and what docs/platforms.md and docs/mcp.md lead to, block by block as it stands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import psutil
import pytest

from tests.support.fleet import ROOT
from tests.support.server_process import free_port
from tests.support.waiting import PATIENCE_S, wait_until

#: What the pages' programs listen on.
PORTS: Final = ("9400", "8000", "9500")


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of each block of a page."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def around() -> Iterator[ModuleType]:
    """Return examples/platform/run.py, which has a customer."""
    sys.path.insert(0, str(ROOT / "examples/platform"))
    import run  # type: ignore[import-not-found]

    yield run
    sys.path.pop(0)


def ours() -> dict[str, str]:
    names = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    return {
        **names,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{names['PATH']}",
        "NO_PROXY": "127.0.0.1",
    }


def test_the_fastapi_platform_goes_from_a_click_to_a_token_that_is_refreshed_and_connected_again() -> None:
    command = [sys.executable, "examples/platform/run.py", "examples/platform_fastapi", "--once"]
    ran = subprocess.run(
        command, cwd=ROOT, env=ours(), capture_output=True, text=True, timeout=4 * PATIENCE_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    first, refreshed, again = re.findall(r"What the CRM says: 200 with token (\d+)", ran.stdout)
    assert int(first) < int(refreshed) < int(again)
    assert not re.search(r"rk_|whsec_|[ar]t\.platform", ran.stdout)


class Reader:
    """Follows the page: a folder, a shell whose variables stay, and what it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("examples", "tests"):
            (folder / name).symlink_to(ROOT / name)
        # Where the API is, the page has from a file.
        self.environment = {**ours(), "PYTHONPATH": str(ROOT), "REFRESHD_API_PORT": str(free_port())}
        self.ports = {port: str(free_port()) for port in PORTS}

    def run(self, language: str, text: str) -> str:
        """Run a block; ports that may be taken here are others."""
        for port, other in self.ports.items():
            text = text.replace(port, other)
        if language == "python":
            return self._ended([sys.executable, "-c", text])
        kept = self.folder / "environment"
        said = self._ended(["sh", "-euc", f"{text}\nenv -0 >environment"])
        pairs = (one.partition("=") for one in kept.read_text().split("\0") if one)
        self.environment = {name: value for name, _, value in pairs}
        return said

    def _ended(self, command: list[str]) -> str:
        log = self.folder / "said.log"
        with log.open("w") as file:  # a pipe would wait for what runs on in the background
            ran = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=2 * PATIENCE_S,
                check=False,
            )
        assert ran.returncode == 0, f"{command[-1]}\n{log.read_text()}"
        return log.read_text()

    def end(self) -> None:
        """End what runs in the folder."""
        found = [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(self.folder)]
        for one in found:
            one.send_signal(signal.SIGTERM)
        psutil.wait_procs(found, timeout=PATIENCE_S)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.end()


def test_the_page_leads_from_nothing_to_a_button_that_works(reader: Reader, around: ModuleType) -> None:
    said: list[str] = []
    platform = f"http://127.0.0.1:{reader.ports['8000']}"
    with around.Customer() as customer:
        for language, text in blocks("platforms.md"):
            said.append(reader.run(language, text))
            if "uvicorn" in text:
                assert ": connected" in customer.connect(platform).text
                assert "200 with token 1" in customer.open(f"{platform}/crm").text
            if "/revoke" in text:
                wait_until(lambda: "Reconnect CRM" in customer.open(platform).text, "the button says so")
                assert ": connected" in customer.connect(platform).text
    everything = "\n".join(said)
    assert "open\n" in everything
    assert "customer-17: unknown account" in everything
    assert "connected 1\n" in everything
    assert "('client', " in everything
    # `up` can be started again in this shell, and nothing that opens something lies beside the page's files.
    assert {name for name in reader.environment if name.startswith("REFRESHD_")} == {"REFRESHD_API_PORT"}
    assert {one.name for one in reader.folder.iterdir() if one.is_file()} <= {
        ".env", "providers.yaml", "environment", "said.log",
    }  # fmt: skip


def test_the_page_of_mcp_leads_from_an_address_to_a_tool(reader: Reader) -> None:
    reader.environment["BROWSER"] = "curl --silent --location --noproxy * --output browser.log %s"
    (_, started), (_, program), *_ = blocks("mcp.md")
    install, _, begun = started.partition("\n")
    assert install.startswith("pip install")
    assert "notes-1: added; active" in reader.run("sh", begun)
    assert f"token 1 for http://127.0.0.1:{reader.ports['9500']}/mcp" in reader.run("python", program)
