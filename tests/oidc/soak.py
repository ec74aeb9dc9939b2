"""Real input: a whole fleet keeps accounts of an authorization server fresh that nobody here wrote.

    python -m tests.oidc.soak --minutes 10 --accounts 120

oidc-provider rotates refresh tokens, revokes a grant whose spent one is used again, and issues access tokens of 20
seconds. One worker and one beat refresh; a reader polls each account every second, and shows some of the tokens to
the server. Exit code 1 where a token was absent, expired or refused, or a grant was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import text

from refreshd_reader import NoUsableToken, Reader
from tests.oidc.consent import consent, exchange
from tests.oidc.server import AuthorizationServer, client
from tests.oidc.watcher import Watcher
from tests.support.fleet import ROOT, Fleet
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import postgres_server, redis_server
from tests.support.waiting import wait_until
from worker.crypto.cipher import generate_key
from worker.db.engine import make_engine

_CLIENT: Final = "refreshd"
_SECRET: Final = "the client's secret"
_CONSENTS_AT_ONCE: Final = 4
_SAY_EACH_S: Final = 60.0


def main() -> int:
    """Run, and print what was seen."""
    arguments = _arguments()
    sigterm_ends_as_ctrl_c_does()
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(TemporaryDirectory(prefix="refreshd-soak-")))
        server = AuthorizationServer(
            folder,
            [client(_CLIENT, client_secret=_SECRET, token_endpoint_auth_method="client_secret_post")],
            access_token_s=arguments.token_seconds,
        )
        server.start()
        stack.callback(server.stop)
        environment = stack.enter_context(_stores(folder, arguments.database))
        _refreshd(environment, "db", "upgrade")
        fleet = stack.enter_context(Fleet(environment, folder))
        worker, beat = fleet.worker(), fleet.beat()
        fleet.wait_ready()
        ids = _import(environment, server, folder, arguments.accounts)
        with Reader.from_url(environment["REFRESHD_REDIS_URL"]) as reader:
            # On a busy machine the first tokens end while the last people consent.
            wait_until(lambda: _all_there(reader, ids), "a token of every account")
            watcher = stack.enter_context(closing(Watcher(reader, server, ids)))
            _watch(watcher, arguments.minutes * 60)
        still_fresh = watcher.generations()
        for member in (beat, worker):
            member.terminate()
            member.wait_ended(60)
        report = watcher.seen.to_json() | {
            "server": server.tally(),
            "accounts": arguments.accounts,
            "database": arguments.database,
            "generations": [min(still_fresh.values()), max(still_fresh.values())],
            "attempts": _attempts(environment["REFRESHD_DATABASE_URL"]),
        }
        print(json.dumps(report, indent=2))
        return 0 if watcher.seen.flawless and not server.tally()["revoked"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--accounts", type=int, default=120)
    parser.add_argument("--token-seconds", type=int, default=20)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--folder", type=Path, help="keep data and logs here, in a folder that is there and empty"
    )
    return parser.parse_args()


@contextmanager
def _stores(folder: Path, database: str) -> Iterator[dict[str, str]]:
    """Run Redis, and PostgreSQL where it is asked for; returns refreshd's environment."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        if database == "postgresql":
            url = stack.enter_context(postgres_server(folder, durable=True)).create_database("refreshd")
        else:
            url = f"sqlite:///{folder}/refreshd.db"
        yield {
            "REFRESHD_DATABASE_URL": url,
            "REFRESHD_REDIS_URL": redis.url,
            "REFRESHD_DATA_DIR": str(folder),
            "REFRESHD_KEYS": generate_key(),
            "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
        }


def _import(environment: dict[str, str], server: AuthorizationServer, folder: Path, number: int) -> list[str]:
    """Have as many people consent, and import their grants as a file; returns the accounts' ids."""
    ids = [f"person-{one}" for one in range(number)]

    def row(account: str) -> str:
        issued_at = time.time()
        answer = exchange(server, consent(server, _CLIENT, login=account) | {"client_secret": _SECRET})
        tokens = {name: answer[name] for name in ("access_token", "refresh_token", "expires_in", "scope")}
        of_the_client = {"client_id": _CLIENT, "client_secret": _SECRET, "token_url": server.token_url}
        return json.dumps({"id": account, "issued_at": issued_at, **of_the_client, **tokens})

    with ThreadPoolExecutor(_CONSENTS_AT_ONCE) as people:
        rows = list(people.map(row, ids))
    file = folder / "accounts.jsonl"
    file.write_text("\n".join(rows), encoding="utf-8")
    print(_refreshd(environment, "accounts", "import", str(file), "--json"), end="", file=sys.stderr)
    return ids


def _all_there(reader: Reader, ids: list[str]) -> bool:
    return not any(isinstance(found, NoUsableToken) for found in reader.get_many(ids).values())


def _watch(watcher: Watcher, seconds: float) -> None:
    """Poll once a second, and say how it goes once a minute."""
    began = time.monotonic()
    said = began
    while (now := time.monotonic()) - began < seconds:
        watcher.look()
        if now - said >= _SAY_EACH_S:
            said = now
            print(f"{(now - began) / 60:.0f} min: {watcher.seen}", file=sys.stderr, flush=True)
        time.sleep(max(0.0, 1 - (time.monotonic() - now)))


def _attempts(database_url: str) -> dict[str, int]:
    """Count the history's attempts by their outcome and reason."""
    engine = make_engine(database_url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT outcome, reason, count(*) FROM attempt GROUP BY 1, 2")).all()
    engine.dispose()
    return {f"{outcome} {reason or ''}".strip(): int(number) for outcome, reason, number in found}


def _refreshd(environment: dict[str, str], *words: str) -> str:
    """Run one of refreshd's commands; returns its standard output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", *words],
        cwd=ROOT, env={**inherited, **environment}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
