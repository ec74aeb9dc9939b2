"""A platform with a "Connect" button: FastAPI, refreshd's API for consent, Redis for tokens.

pip install fastapi uvicorn standardwebhooks 'refreshd_reader-0.1.0-py3-none-any.whl[api,httpx]'   # of `make wheel`
uvicorn app:app

Its key may open Connect sessions and read accounts' states. No key and no token ever reaches the browser.
"""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import Cookie, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from standardwebhooks import Webhook, WebhookVerificationError

from refreshd_reader import AsyncReader, NoUsableToken
from refreshd_reader.api import AsyncAccounts, NotFound
from refreshd_reader.httpx import AsyncTokenAuth

URL = os.environ["PLATFORM_URL"]  # where browsers reach this app
CRM = os.environ["CRM_URL"]  # the API that customers connect
WEBHOOK = Webhook(os.environ["REFRESHD_WEBHOOK_SECRET"])
RECONNECT = {"reauthorize": True, "connected": False, "reconnected": False, "recovered": False}

accounts = AsyncAccounts(os.environ["REFRESHD_API_URL"], os.environ["REFRESHD_API_KEY"])
reader = AsyncReader.from_url(os.environ["REFRESHD_REDIS_URL"], cache_size=10_000)
#: Your database's, in a real platform: who is logged in, and who is connected. True: the account has to consent again.
customers: dict[str, str] = {}
opened: dict[str, str] = {}
connected: dict[str, bool] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with accounts, reader:
        # What webhooks said while this app was down.
        async for account in accounts.reconnectable():
            connected[account["id"]] = True
        yield


app = FastAPI(lifespan=lifespan, docs_url=None, openapi_url=None)
Login = Annotated[str, Cookie()]


@app.get("/")
async def home(login: Login = "") -> Response:
    customer = customers.get(login)
    if customer is None:  # a real platform has a login page
        login = secrets.token_urlsafe()
        customer = customers[login] = f"customer-{secrets.token_hex(4)}"
    words = {None: "Connect CRM", True: "Reconnect CRM", False: "Connect again"}[connected.get(customer)]
    status = {None: "not connected", True: "to be reconnected", False: "connected"}[connected.get(customer)]
    page = HTMLResponse(
        f"""<!doctype html><title>Platform</title><h1>{customer}: {status}</h1>
<form method="post" action="/connect"><button>{words}</button></form><p><a href="/crm">What the CRM says</a>"""
    )
    page.set_cookie("login", login, httponly=True, samesite="lax", secure=URL.startswith("https:"))
    return page


@app.post("/connect")
async def connect(login: Login = "") -> Response:
    customer = logged_in(login)
    session = await accounts.connect_session(customer, "crm", f"{URL}/connected", labels={"tenant": customer})
    opened[login] = session["id"]
    return RedirectResponse(session["url"], 303)


@app.get("/connected")
async def back(session: str, login: Login = "") -> Response:
    if session != opened.pop(login, None):  # anybody can type this address
        raise HTTPException(400, "This browser did not begin that connection.")
    found = await accounts.get_connect_session(session)
    if found["status"] != "connected":
        return HTMLResponse(f'Not connected: {found["reason"]}. <a href="/">Try again</a>', 400)
    connected[logged_in(login)] = False
    return RedirectResponse("/", 303)


@app.post("/webhooks", status_code=204)
async def webhook(request: Request) -> None:
    try:
        message = WEBHOOK.verify(await request.body(), dict(request.headers))
    except WebhookVerificationError:
        raise HTTPException(401) from None
    # Messages may come twice, and late: what they say is looked up, not believed.
    for account in message["data"].get("accounts") or [message["data"].get("account")]:
        if account is not None and message["type"] in RECONNECT:
            try:
                connected[account] = (await accounts.get(account))["status"] == "reauthorize"
            except NotFound:  # it was removed since
                connected.pop(account, None)


@app.get("/crm")
async def crm(login: Login = "") -> Response:
    customer = logged_in(login)
    try:
        async with httpx.AsyncClient(auth=AsyncTokenAuth(reader, customer)) as client:
            answer = await client.get(f"{CRM}/api/me")
        token = await reader.get(customer)
    except NoUsableToken as error:
        return HTMLResponse(f'No token: {error.reason}. <a href="/">Connect</a>', 409)
    return HTMLResponse(f"{answer.status_code} with token {token.generation}: {answer.text}")


def logged_in(login: str) -> str:
    if login not in customers:
        raise HTTPException(401, "log in first")
    return customers[login]
