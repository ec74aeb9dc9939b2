"""A route that is asked hundreds of times a second: past FastAPI's search for it, and past its dependencies.

They took a third of a grant's CPU. The route is documented, and refuses, as any other: a request that is not the usual one goes
FastAPI's way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from refreshd_reader.contract import ACCOUNT_ID
from worker.api.auth import Caller, caller_of
from worker.api.context import ApiContext

_ID: Final = "{id}"


class DirectRoute(BaseRoute):
    """A route of one account that is found and called at once; it must come before FastAPI's own.

    Args:
        documented: FastAPI's route, of one method; its path ends behind the account's id with a fixed word.
        admits: checks what the caller may.
        answers: answers the request.
    """

    def __init__(
        self,
        documented: APIRoute,
        admits: Callable[[Request, Caller], Awaitable[Caller]],
        answers: Callable[[Request, str, ApiContext, Caller], Awaitable[Response]],
    ) -> None:
        self._route = documented
        self._method = next(iter(documented.methods or ()))
        self._head, self._tail = documented.path.split(_ID)
        self._admits = admits
        self._answers = answers

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request without a query, of an id that is one."""
        if scope["type"] != "http" or scope["method"] != self._method:
            return Match.NONE, {}
        path: str = scope["path"]
        account_id = path[len(self._head) : -len(self._tail)]
        usual = path.startswith(self._head) and path.endswith(self._tail) and not scope["query_string"]
        if not usual or scope.get("root_path") or not ACCOUNT_ID.fullmatch(account_id):
            return Match.NONE, {}
        return Match.FULL, {"route": self._route, "path_params": {"id": account_id}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; what is raised becomes a problem as anywhere."""
        request = Request(scope, receive)
        here: ApiContext = scope["app"].state.context()
        caller = await self._admits(request, await caller_of(request, here))
        response = await self._answers(request, scope["path_params"]["id"], here, caller)
        await response(scope, receive, send)


def route_of(routes: Any, operation: str) -> APIRoute:
    """Return the route of an operation."""
    return next(one for one in routes if isinstance(one, APIRoute) and one.operation_id == operation)
