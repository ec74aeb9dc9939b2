"""Take the pictures of Flower that the docs show: `python -m tests.screenshots FOLDER`.

A demo runs in a folder of its own, with one provider that is down for a while. The pictures are taken as an operator
sees the pages, after the login.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.screenshots.browser import Browser, BrowserMissing, chromium
from tests.support.command import refreshd
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

#: A laptop: all columns of the list fit.
WIDTH: Final = 1280
#: A picture beyond is too much for a page of documentation.
MOST_BYTES: Final = 150_000
#: Whatever hangs ends by itself.
DEMO_S: Final = 240
ACCOUNTS: Final = 12
#: Whose provider is down for some calls.
DOWN: Final = "demo-01"
#: What has to be there before pictures are taken: of each state one, and a group.
WANTED: Final = ("SUCCESS", "FAILURE", "RETRY")
_REFRESHES: Final = "/tasks?name=refreshd.refresh"
#: Flower draws its list once: it is opened when more rows than this are there.
ROWS_MIN: Final = 6
_ROWS: Final = "document.querySelectorAll('#tasks-table tbody td .badge').length > 4"
_FAILED_FIRST: Final = (
    "document.querySelector('#tasks-table tbody td .badge').textContent.trim() == 'FAILURE'"
)


@dataclass(frozen=True, slots=True)
class Pages:
    """Flower's pages, and who may see them."""

    url: str
    login: tuple[str, str]

    @property
    def url_with_login(self) -> str:
        return self.url.replace("://", f"://{self.login[0]}:{self.login[1]}@", 1)

    def refreshes(self) -> list[dict[str, Any]]:
        """Return the refreshes that ended, newest first."""
        answer = httpx.get(f"{self.url}/api/tasks", auth=self.login, trust_env=False, timeout=20)
        tasks = [task for task in answer.json().values() if task["name"] == "refreshd.refresh"]
        return sorted(tasks, key=lambda task: -float(task["received"] or 0))


def take(folder: Path) -> None:
    """Take all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with watched_demo() as pages, chromium() as browser:
        tasks = of_each_state(pages)
        browser.open(pages.url_with_login)  # which Chromium keeps, as after somebody typed it in
        for name, height, path, drawn in (
            (
                "flower-tasks",
                760,
                _REFRESHES,
                _FAILED_FIRST,
            ),
            (
                "flower-workers",
                560,
                "/workers",
                "document.querySelectorAll('#workers-table tbody .badge').length > 1",
            ),
            *((f"flower-task-{state.lower()}", 1250, f"/task/{tasks[state]}", "true") for state in WANTED),
        ):
            browser.resize(WIDTH, height)
            browser.open(pages.url + path)
            if path == _REFRESHES:
                # By state, as after a click: what failed comes first.
                wait_until(lambda: bool(browser.run(f"return {_ROWS}")), "the list is drawn")
                browser.run("document.querySelector('th[data-column=state]').click()")
            wait_until(lambda drawn=drawn: bool(browser.run(f"return {drawn}")), f"{name} is drawn")  # type: ignore[misc]
            save(folder / f"{name}.png", browser)


@contextmanager
def watched_demo() -> Iterator[Pages]:
    """Run a demo until the block ends."""
    with tempfile.TemporaryDirectory(prefix="refreshd-screenshots-") as folder:
        port = str(free_port())
        words = ("demo", "--seconds", str(DEMO_S), "--accounts", str(ACCOUNTS))
        with refreshd(Path(folder), *words, REFRESHD_FLOWER_PORT=port) as demo:
            demo.wait_for("Accounts")
            demo.family()
            provider = re.search(r"Provider +(http://[\d.:]+)", demo.output)
            flower = re.search(r"Flower +(http://[\d.:]+)", demo.output)
            assert provider, demo.output
            assert flower, demo.output
            fault = {"kind": "unavailable", "times": 3, "grant": DOWN}
            httpx.post(
                f"{provider[1]}/admin/faults", json={"faults": [fault]}, trust_env=False
            ).raise_for_status()
            user, _, password = (
                (Path(folder) / ".refreshd/demo/flower.login").read_text().strip().partition(":")
            )
            yield Pages(flower[1], (user, password))


def of_each_state(pages: Pages) -> dict[str, str]:
    """Wait for a refresh in each state, and give them; the one that succeeded is of a group, where there is one."""
    found: dict[str, str] = {}

    def look() -> bool:
        tasks = pages.refreshes()
        found.update({task["state"]: task["uuid"] for task in tasks})
        found.update({task["state"]: task["uuid"] for task in tasks if task["kwargs"].count("demo-") > 1})
        return found.keys() >= set(WANTED) and len(tasks) > ROWS_MIN

    wait_until(look, f"tasks that are {', '.join(WANTED)}", within_s=120)
    return found


def save(file: Path, browser: Browser) -> None:
    """Write one picture, unless it became too large for a page."""
    picture = browser.picture()
    if len(picture) > MOST_BYTES:
        raise SystemExit(
            f"{file.name} is {len(picture):,} bytes: more than {MOST_BYTES:,}; make its window smaller"
        )
    file.write_bytes(picture)
    print(f"{file}  {len(picture):,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="where the pictures go")
    try:
        take(parser.parse_args().folder)
    except BrowserMissing as missing:
        sys.exit(f"screenshots: {missing}")
