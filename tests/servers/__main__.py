"""Real input: refreshd keeps accounts of real authorization servers fresh, and says of sick ones what they have.

    python -m tests.servers [NAME...] --minutes 2

Accounts name their server's preset, and all of them have the same client id and secret.
Each server is installed from its lock into a temporary folder and runs on loopback. One worker and one beat refresh, a
reader polls every healthy account once a second. Exit code 1 where a healthy account had no usable token, or a sick one
got another verdict than the table's (`catalogue.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx
import redis

from refreshd_reader import AccountState, Keys, Reader
from tests.servers import report
from tests.servers.catalogue import SERVERS, Kind, RealServer
from tests.servers.installing import InstallFailed, RuntimeAbsent, install
from tests.servers.running import Row, RunningServer
from tests.servers.watching import Watcher
from tests.support.fleet import ROOT, Fleet
from tests.support.server_process import ServerFailed, sigterm_ends_as_ctrl_c_does
from tests.support.services import redis_server
from tests.support.waiting import wait_until
from worker.crypto.cipher import generate_key

_INSTALLS_AT_ONCE: Final = 2
_END_S: Final = 60.0


@dataclass
class Run:
    """The servers of one run, and whose accounts are whose."""

    running: list[RunningServer] = field(default_factory=list)
    #: Server -> why it does not run.
    left_out: dict[str, str] = field(default_factory=dict)
    #: Servers that should have run here.
    failed: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    accounts: dict[str, dict[Kind, list[str]]] = field(default_factory=dict)

    def healthy(self) -> dict[str, RunningServer]:
        """Return every healthy account with its server."""
        return {
            account: server for server in self.running for account in self.accounts[server.name][Kind.HEALTHY]
        }


def main() -> int:
    """Run, and print what came of it."""
    arguments = _arguments()
    sigterm_ends_as_ctrl_c_does()
    chosen = [server for server in SERVERS if not arguments.names or server.name in arguments.names]
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(TemporaryDirectory(prefix="refreshd-servers-")))
        run = _start(stack, chosen, folder, arguments)
        lines = _watched(stack, run, folder, arguments.minutes) if run.running else []
    for line in report.table(lines, run.left_out | run.failed):
        print(line)
    missed = [line for line in lines if line.missed]
    print(f"{len(run.running)} of {len(chosen)} servers ran; {len(missed)} bars missed")
    return 1 if missed or run.failed or not run.running else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *(one.name for one in SERVERS)])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument(
        "--folder", type=Path, help="install and log here: what is installed is not installed again"
    )
    parser.add_argument(
        "--knobs",
        action="store_true",
        help="accounts have the knobs that decide a verdict instead of their server's preset",
    )
    parser.add_argument(
        "--client-each",
        action="store_true",
        help="a client id of its own at each server; without it one client is the same at all of them, and what one "
        "server refuses must hold no account of another",
    )
    return parser.parse_args()


def _start(stack: ExitStack, chosen: list[RealServer], folder: Path, arguments: argparse.Namespace) -> Run:
    """Install and start servers, and have people consent."""
    run = Run()
    with ThreadPoolExecutor(_INSTALLS_AT_ONCE) as installers:
        commands = [(one, installers.submit(install, one, folder / one.name)) for one in chosen]
        for server, command in commands:
            try:
                client_id = f"refreshd-at-{server.name}" if arguments.client_each else "refreshd"
                columns = server.columns_with(preset=not arguments.knobs)
                running = RunningServer(server, command.result(), folder / server.name, client_id, columns)
                stack.callback(running.close)
                running.start()
            except RuntimeAbsent as error:
                run.left_out[server.name] = str(error)
                continue
            except (InstallFailed, ServerFailed) as error:
                run.failed[server.name] = str(error)
                continue
            print(f"{server.package} {server.version} runs", file=sys.stderr, flush=True)
            run.running.append(running)
    return run


def _consent(run: Run) -> None:
    """Have people consent at every server; one that fails then is left out."""
    for server in list(run.running):
        kinds = run.accounts.setdefault(server.name, {})
        try:
            rows = list(server.rows())
        except httpx.HTTPError as error:
            run.running.remove(server)
            run.failed[server.name] = f"no consent: {error}"
            continue
        for kind, row in rows:
            run.rows.append(row)
            kinds.setdefault(kind, []).append(row["id"])


def _watched(stack: ExitStack, run: Run, folder: Path, minutes: float) -> list[report.Line]:
    """Run refreshd on the servers' accounts, and judge what came of each."""
    stores = folder / "refreshd"
    shutil.rmtree(stores, ignore_errors=True)
    stores.mkdir()
    stored = stack.enter_context(redis_server(stores))
    environment = {
        "REFRESHD_DATABASE_URL": f"sqlite:///{stores}/refreshd.db",
        "REFRESHD_REDIS_URL": stored.url,
        "REFRESHD_DATA_DIR": str(stores),
        "REFRESHD_KEYS": generate_key(),
        "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
    }
    _refreshd(environment, "db", "upgrade")
    fleet = stack.enter_context(Fleet(environment, stores))
    members = [fleet.worker(), fleet.beat()]
    fleet.wait_ready()
    _consent(run)
    file = stores / "accounts.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in run.rows), encoding="utf-8")
    _refreshd(environment, "accounts", "import", str(file))
    with Reader.from_url(stored.url) as reader:
        watcher = Watcher(reader, run.healthy())
        wait_until(watcher.all_there, "a token of every healthy account")
        watcher.watch(minutes * 60)
        for account in run.healthy():
            watcher.show(account)
    lines = _lines(run, watcher, stored.url, minutes)
    for member in members:
        member.terminate()
        member.wait_ended(_END_S)
    return lines


def _lines(run: Run, watcher: Watcher, redis_url: str, minutes: float) -> list[report.Line]:
    lines = []
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for running in run.running:
            for kind, accounts in run.accounts[running.name].items():
                if kind is Kind.HEALTHY:
                    seen = [watcher.seen[account] for account in accounts]
                    lines.append(report.healthy(running.server, seen, minutes))
                    continue
                found = client.hgetall(Keys("refreshd:").account(accounts[0]))
                state = AccountState.from_hash(found) if found else None
                lines.append(report.sick(running.server, kind, state))
    return lines


def _refreshd(environment: dict[str, str], *words: str) -> None:
    """Run one of refreshd's commands."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    subprocess.run(
        [sys.executable, "-m", "worker.cli", *words],
        cwd=ROOT, env={**inherited, **environment}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
