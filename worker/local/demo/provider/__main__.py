"""A local OAuth 2.0 provider that rotates refresh tokens and revokes a grant whose old one is used again.

    python -m worker.local.demo.provider --port 0

It prints one line of JSON, `{"url", "token_url", "pid"}`, as soon as it listens, and ends on SIGTERM.

    POST   /token                      refresh (RFC 6749 section 6): parameters in the form or in the query
    GET    /authorize                  a consent page; its code at /token gives a grant (secret of a new client: `secret`)
    GET    /api/me                     a resource (RFC 6750): 200, 401; 403 where `?scope=` names more than granted
    GET    /stats                      what happened, in total; /stats/grants: per grant
    POST   /admin/grants               {"grants": [...]} or {"count": 500, "prefix": "load-", "like": {...}}
    POST   /admin/grants/ID/revoke     as its owner would
    PATCH  /admin/settings             {"latency_s": 0.2}
    POST   /admin/faults               {"faults": [{"kind": "drop_after_commit", "probability": 0.01}, ...]}
    GET    /admin/faults               those that are set, and how often each happened;  DELETE: none any more

It is made for demonstrations and tests: everybody who reaches it may ask it for anything. It listens on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from worker.clock import wall_clock
from worker.local.demo.provider.admin import Bulk, admin_routes
from worker.local.demo.provider.codes import Codes
from worker.local.demo.provider.consent import consent_routes
from worker.local.demo.provider.faults import Faults
from worker.local.demo.provider.grants import Grants
from worker.local.demo.provider.oauth import oauth_routes
from worker.local.demo.provider.state import STATE, ProviderState, total
from worker.local.ports import LOOPBACK

#: Calls that are under way at SIGTERM get this long.
SHUTDOWN_S: Final = 1.0


def make_app(state: ProviderState) -> web.Application:
    """Put the provider together."""
    app = web.Application()
    app[STATE] = state
    app.add_routes(oauth_routes)
    app.add_routes(consent_routes)
    app.add_routes(admin_routes)
    app.router.add_get("/stats", _stats)
    app.router.add_get("/stats/grants", _stats_of_grants)
    return app


async def _stats(request: web.Request) -> web.Response:
    return web.json_response(total(request.app[STATE]))


async def _stats_of_grants(request: web.Request) -> web.Response:
    grants = request.app[STATE].grants.by_id
    return web.json_response({grant_id: grant.counts() for grant_id, grant in grants.items()})


async def serve(state: ProviderState, *, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    runner = web.AppRunner(make_app(state), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        url = f"http://{host}:{runner.addresses[0][1]}"
        sys.stdout.write(json.dumps({"url": url, "token_url": f"{url}/token", "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        over = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, over.set)
        await over.wait()
    finally:
        await runner.cleanup()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m worker.local.demo.provider", description="A local OAuth 2.0 provider."
    )
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--latency-s", type=float, default=0.0, help="how long a refresh takes")
    parser.add_argument(
        "--lifetime-s", type=float, default=3600, help="of access tokens that a consent brings"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults that happen by chance")
    parser.add_argument("--grants", type=Path, help="JSON file of what POST /admin/grants takes")
    parser.add_argument(
        "--signing-key",
        type=Path,
        help="file; with the same one, tokens outlive a restart (default: a new one)",
    )
    return parser.parse_args()


def main() -> None:
    options = _options()
    key = options.signing_key.read_bytes() if options.signing_key else secrets.token_bytes(32)
    state = ProviderState(
        Grants(key), Faults(options.seed), latency_s=options.latency_s, codes=Codes(options.lifetime_s)
    )
    if options.grants:
        try:
            bulk = Bulk.model_validate_json(options.grants.read_bytes())
        except (OSError, ValidationError) as error:
            sys.exit(f"--grants: {error}")
        for spec in bulk.specs():
            state.grants.put(spec, now=wall_clock())
    asyncio.run(serve(state, host=options.host, port=options.port))


if __name__ == "__main__":
    main()
