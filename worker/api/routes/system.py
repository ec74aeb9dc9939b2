"""Whether the process lives, can work, and what it counts; its own documentation."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from worker.api.auth import Here
from worker.api.context import ApiContext
from worker.api.document.page import STYLE_POLICY, page
from worker.db.engine import database_now, reading
from worker.errors import RefreshdError
from worker.log import log
from worker.redis.client import answered

router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz() -> dict[str, Any]:
    """Return that the process lives."""
    return {"status": "ok"}


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(here: Here) -> Response:
    """Return whether the process can work: 503 where a store does not answer, or the intake key is missing."""
    checks = {
        "database": await _checked(here, "database"),
        "redis": await _redis(here),
        "intake_key": "ok" if here.settings.intake_key is not None else "REFRESHD_INTAKE_KEY is not set",
    }
    fine = all(word == "ok" for word in checks.values())
    return JSONResponse({"status": "ok" if fine else "unavailable", "checks": checks}, 200 if fine else 503)


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(request: Request) -> Response:
    """Return what the process counts, for Prometheus."""
    text = await run_in_threadpool(request.app.state.metrics.exposed)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.api_route("/openapi.json", methods=["GET", "HEAD"])
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """Return the documentation as one page, which loads nothing."""
    return HTMLResponse(page(request.app.openapi()), headers={"Content-Security-Policy": STYLE_POLICY})


@router.get("/")
async def root() -> Response:
    """Send people to the documentation."""
    return RedirectResponse("docs", 307)


async def _checked(here: ApiContext, name: str) -> str:
    def look() -> None:
        with reading(here.engine) as connection:
            here.clock.set(database_now(connection))

    try:
        await here.read(look)
    except RefreshdError as error:
        log.error("api_not_ready", store=name, error=str(error))
        return f"{type(error).__name__}: the log says why"
    return "ok"


async def _redis(here: ApiContext) -> str:
    try:
        await answered(here.async_redis.ping())
    except (RedisError, OSError, RefreshdError) as error:
        log.error("api_not_ready", store="redis", error=str(error))
        return f"{type(error).__name__}: the log says why"
    return "ok"
