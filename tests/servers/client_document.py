"""A client id metadata document of ours, at a server that nobody here wrote: from the document to the third refresh.

    python -m tests.servers.client_document [--folder FOLDER]

The server is @cloudflare/workers-oauth-provider, which fetches and checks such documents; the fetch is answered with what the API
would serve. Exit code 1 where a step failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.oidc.browser import Browser
from tests.servers.catalogue import SERVERS
from tests.servers.connections import (
    ACCOUNT,
    REFRESHES,
    McpServer,
    StepFailed,
    look,
    new_settings,
    read,
    refresh,
)
from tests.servers.installing import InstallFailed, RuntimeAbsent, install
from tests.support.fleet import ROOT
from tests.support.server_process import ServerFailed, sigterm_ends_as_ctrl_c_does
from tests.support.services import redis_server
from worker.context import AppContext
from worker.intake.resources import Address, Prepared, Redirect, prepare
from worker.intake.services import account_services, publisher_of
from worker.providers.discovery.client_document import CALLBACK_PATH, document

#: Where the API is, as servers see it.
API: Final = "https://refreshd.example.com"
_SERVER: Final = "cloudflare-workers-oauth-provider"


def main() -> int:
    """Run, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.client_document")
    parser.add_argument("--folder", type=Path, help="install here: what is installed is not installed again")
    arguments = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    [package] = [one for one in SERVERS if one.name == _SERVER]
    with TemporaryDirectory(prefix="refreshd-document-") as temporary:
        folder = Path(temporary)
        try:
            place = (arguments.folder or folder) / package.name
            [program, *_] = install(package, place)
            served = json.dumps(document(API, name="Northwind"))
            server = McpServer(package.name, place, program, DOCUMENT=served)
            with redis_server(folder) as redis:
                server.start()
                try:
                    _run(server, folder, redis.url)
                finally:
                    server.stop()
        except RuntimeAbsent as error:
            print(f"LEFT OUT: {error}")
            return 0
        except (InstallFailed, ServerFailed, StepFailed) as error:
            print(f"FAILED: {error}")
            return 1
    print(f"{package.package} {package.version}: a document was enough")
    return 0


def _run(server: McpServer, folder: Path, redis_url: str) -> None:
    settings = new_settings(folder, redis_url)
    client = _prepared(settings, server.url).client
    _authorize(settings, server, client)
    seen = [look(server, redis_url)]
    for _ in range(REFRESHES):
        refresh(settings)
        seen.append(look(server, redis_url))
    print(f"  {', '.join(seen)}", flush=True)
    if len(set(seen)) != REFRESHES + 1 or not all(server.url in one for one in seen):
        raise StepFailed(f"expected {REFRESHES + 1} tokens for {server.url}; found {seen}")


def _prepared(settings: dict[str, str], url: str) -> Prepared:
    """Have the client made as a Connect session's worker does."""
    here = AppContext(read(settings))
    with publisher_of(here) as publisher:
        services = account_services(here, publisher, here.actor)
        found = prepare(services, Address(url), client=None, redirect=Redirect.to_api(API, "Northwind"))
        client = here.clients.find([found.client])[found.client]
    here.close()
    if client.client_id != f"{API}/connect/client.json":
        raise StepFailed(f"expected the document's URL as client id; found {client.client_id}")
    return found


def _authorize(settings: dict[str, str], server: McpServer, client: str) -> None:
    """Consent as a person does whose browser ends at the API, and paste where it ended."""
    redirect_uri = f"{API}{CALLBACK_PATH}"
    words = [
        "accounts",
        "authorize",
        ACCOUNT,
        "--mcp",
        server.url,
        "--client",
        client,
        "--paste",
        "--no-browser",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *words, "--redirect-uri", redirect_uri],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", **settings}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "/authorize?" in line:
                with Browser("alice") as browser:
                    process.stdin.write(browser.open(line.strip(), until=redirect_uri) + "\n")
                process.stdin.close()
                break
        said += process.stdout.read()
    if process.returncode:
        raise StepFailed(f"refreshd {' '.join(words)}: {said[-1500:]}")


if __name__ == "__main__":
    raise SystemExit(main())
