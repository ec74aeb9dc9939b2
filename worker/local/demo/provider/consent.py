"""The local provider's consent page, and the code that it gives (RFC 6749 section 4.1, with PKCE: RFC 7636).

    GET    /authorize                  a page with two buttons; any client: the secret of a new one is `secret`
    POST   /token                      grant_type=authorization_code: a grant of its own for each consent

Only a redirect to this machine is followed: it is made for demonstrations.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from worker.local.demo.provider.state import STATE
from worker.local.ports import LOOPBACK

consent_routes = web.RouteTableDef()

#: What a client sends, and gets back with the form.
_ASKED: Final = ("client_id", "redirect_uri", "scope", "state", "code_challenge")
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Demo provider</title>
<meta name="viewport" content="width=device-width">
<h1>Demo provider</h1><p><b>{client}</b> asks for access to your account ({scope}).</p>
<form method="post" action="/authorize">{hidden}
<button name="answer" value="allow">Allow</button> <button name="answer" value="deny">Deny</button></form></html>
"""


@consent_routes.get("/authorize")
async def ask(request: web.Request) -> web.Response:
    """Show the page."""
    asked = _read(request.query)
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in asked.items()
    )
    page = _PAGE.format(
        client=html.escape(asked["client_id"]), scope=html.escape(asked.get("scope", "read")), hidden=hidden
    )
    return web.Response(
        text=page, content_type="text/html", headers={"Content-Security-Policy": "default-src 'none'"}
    )


@consent_routes.post("/authorize")
async def answered(request: web.Request) -> web.Response:
    """Send the browser back, with a code or without."""
    form = {name: str(value) for name, value in (await request.post()).items()}
    asked = _read(form)
    state = request.app[STATE]
    said = (
        {"code": state.codes.give(asked, state.grants)}
        if form.get("answer") == "allow"
        else {"error": "access_denied"}
    )
    back = {**said, "state": asked.get("state", ""), "iss": f"{request.scheme}://{request.host}"}
    raise web.HTTPSeeOther(f"{asked['redirect_uri']}?{urlencode(back)}")


def _read(given: Mapping[str, str]) -> dict[str, str]:
    asked = {name: given[name] for name in _ASKED if given.get(name)}
    if missing := {"client_id", "redirect_uri", "code_challenge"} - asked.keys():
        raise web.HTTPBadRequest(text=f"missing: {', '.join(sorted(missing))}\n")
    if urlsplit(asked["redirect_uri"]).hostname not in {LOOPBACK, "localhost"}:
        raise web.HTTPBadRequest(text="redirect_uri: only to this machine\n")
    return asked
