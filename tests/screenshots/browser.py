"""A headless Chromium, driven through chromedriver's own protocol (W3C WebDriver): no library is needed for so little."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from tests.support.server_process import free_port
from tests.support.waiting import wait_until

#: Debian's names first, then what others call them.
_CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
_DRIVER: Final = ("chromedriver",)
#: Flower's pages and nothing else: no calls home, no first-run pages, software rendering.
_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--force-device-scale-factor=1"),
)
_TIMEOUT_S: Final = 60.0


class BrowserMissing(RuntimeError):
    """No Chromium, or no chromedriver, is on PATH."""


class Browser:
    """One window."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._ask("url", url=url)

    def run(self, script: str) -> Any:
        """Run JavaScript in the page; returns what it returns."""
        return self._ask("execute/sync", script=script, args=[])

    def resize(self, width: int, height: int) -> None:
        self._ask("window/rect", width=width, height=height)

    @property
    def url(self) -> str:
        """The address of the page that is shown."""
        return str(self._session.get("url").raise_for_status().json()["value"])

    def has(self, selector: str) -> bool:
        """Return whether the page has such an element."""
        return bool(self._ask("elements", using="css selector", value=selector))

    def text(self, selector: str) -> str:
        """Return the text of an element, as it is shown."""
        answer = self._session.get(f"element/{self._element(selector)}/text").raise_for_status()
        return str(answer.json()["value"])

    def click(self, selector: str) -> None:
        """Click an element as a person does."""
        self._ask(f"element/{self._element(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._ask(f"element/{self._element(selector)}/value", text=text)

    def press(self, key: str) -> None:
        """Press a key, wherever the focus is."""
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._ask("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Run a command of Chromium's own protocol."""
        return self._ask("goog/cdp/execute", cmd=command, params=parameters)

    def picture(self) -> bytes:
        """Return what the window shows, as PNG."""
        answer = self._session.get("screenshot").raise_for_status()
        return base64.b64decode(answer.json()["value"])

    def _element(self, selector: str) -> str:
        found: dict[str, str] = self._ask("element", using="css selector", value=selector)
        return next(iter(found.values()))

    def _ask(self, command: str, **body: Any) -> Any:
        answer = self._session.post(command, json=body)
        if answer.is_error:
            raise RuntimeError(f"{command}: {answer.json()['value']['message']}")
        return answer.json()["value"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser with a profile of its own until the block ends.

    Raises:
        BrowserMissing: there is none on this machine.
    """
    binary, driver = _on_path(_CHROMIUM), _on_path(_DRIVER)
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="refreshd-chromium-", ignore_cleanup_errors=True) as profile,
        subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=_TIMEOUT_S) as client,
    ):
        try:
            wait_until(lambda: _answers(client), "chromedriver answers")
            with _window(client, binary, Path(profile)) as window:
                yield window
        finally:
            _end(process.pid)


@contextmanager
def chromium_or_left_out() -> Iterator[Browser]:
    """Run a browser for tests. CI has one; elsewhere they may be left out, aloud."""
    try:
        with chromium() as browser:
            yield browser
    except BrowserMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(f"LEFT OUT: {missing}")


@contextmanager
def _window(client: httpx.Client, binary: str, profile: Path) -> Iterator[Browser]:
    options = {"binary": binary, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
    wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
    made = client.post("/session", json=wanted).raise_for_status().json()["value"]
    session = f"/session/{made['sessionId']}"
    client.base_url = client.base_url.join(f"{session}/")
    try:
        yield Browser(client)
    finally:
        client.delete(client.base_url.join(session)).raise_for_status()


def _end(pid: int) -> None:
    """End chromedriver, and a browser that it left: it leaves one whose window was not closed."""
    driver = psutil.Process(pid)
    family = [driver, *driver.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _answers(client: httpx.Client) -> bool:
    with suppress(httpx.HTTPError):
        return bool(client.get("/status").json()["value"]["ready"])
    return False


def _on_path(names: tuple[str, ...]) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    raise BrowserMissing(
        f"no {names[0]} on PATH: on Debian and Ubuntu, `apt-get install chromium chromium-driver`"
    )
