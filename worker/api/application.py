"""The ASGI application: routes, problems for everything that goes wrong, and the shield before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from refreshd_reader.errors import RedisUnreachable as ReaderRedisUnreachable
from worker.api.connect.browser_limits import TooManyPages
from worker.api.context import ApiContext
from worker.api.document.openapi import document
from worker.api.metrics import ApiMetrics
from worker.api.problems import OF_STATUS, FieldError, Kind, Problem, invalid
from worker.api.routes import DIRECT, ROUTERS
from worker.api.routes.connect import too_many_pages
from worker.api.shield import Shield
from worker.errors import InputError, RefreshdError, SchemaOutdated, UnknownAccount, Unreachable
from worker.intake.client import NoWorkerAnswered
from worker.log import log
from worker.settings import load_settings
from worker.settings.api import load_api_settings


class _Lazy:
    """Makes what the process stands on with its first use."""

    def __init__(self, given: ApiContext | None) -> None:
        self.made = given

    def __call__(self) -> ApiContext:
        if self.made is None:
            self.made = ApiContext(load_settings(), load_api_settings())
        return self.made


def make_app(given: ApiContext | None = None) -> FastAPI:
    """Return the application.

    Args:
        given: what it stands on; None: what the environment says, read with the first request.
    """
    context, metrics = _Lazy(given), ApiMetrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(context().warm())
        yield
        warming.cancel()
        if context.made is not None:
            await context.made.aclose()

    app = FastAPI(
        title="refreshd",
        version=version("refreshd"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        exception_handlers={
            Problem: _problem,
            TooManyPages: too_many_pages,
            HTTPException: _of_the_framework,
            RequestValidationError: _not_valid,
            RefreshdError: _of_ours,
            RedisError: _redis_is_away,
            ReaderRedisUnreachable: _redis_is_away,
        },
    )
    app.state.context, app.state.metrics = context, metrics
    app.router.routes.extend(DIRECT)
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    app.add_middleware(Shield, context=context, metrics=metrics)
    return app


async def _problem(_: Request, error: Any) -> Response:
    problem: Problem = error
    return problem.response()


async def _of_the_framework(request: Request, error: Any) -> Response:
    failed: HTTPException = error
    kind = OF_STATUS.get(failed.status_code, Kind.MALFORMED)
    words = {
        Kind.NOT_FOUND: f"{request.method} of this path is nothing; /docs lists what there is",
        Kind.METHOD_NOT_ALLOWED: f"{request.method} does not fit this URL; the header Allow lists what does",
    }
    return Problem(kind, words.get(kind, kind.title), headers=dict(failed.headers or {})).response()


async def _not_valid(_: Request, error: Any) -> Response:
    failed: RequestValidationError = error
    found = [
        FieldError(
            ".".join(map(str, one["loc"][1:])) or "body", str(one["msg"]).removeprefix("Value error, ")
        )
        for one in failed.errors()
    ]
    return invalid(*found).response()


async def _of_ours(_: Request, error: Any) -> Response:
    match error:
        case InputError():
            return invalid(FieldError(error.field, error.reason)).response()
        case UnknownAccount():
            return Problem(Kind.NOT_FOUND, "no account has this id").response()
        case NoWorkerAnswered():
            return Problem(Kind.NO_WORKER, str(error)).response()
        case Unreachable() | SchemaOutdated():
            log.error("api_store_unreachable", error=str(error))
            # Its text names hosts, which a client has no business to know.
            detail = "the database or Redis does not answer; try again in some seconds. The API's log says which one, and why"
            return Problem(Kind.UNAVAILABLE, detail, headers={"Retry-After": "5"}).response()
    raise error


async def _redis_is_away(_: Request, error: Any) -> Response:
    log.error("api_store_unreachable", error=f"Redis: {type(error).__name__}: {error}")
    detail = "Redis does not answer, or refuses; try again in some seconds. The API's log says why"
    return Problem(Kind.UNAVAILABLE, detail, headers={"Retry-After": "5"}).response()
