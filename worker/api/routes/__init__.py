"""Every route of the API."""

from __future__ import annotations

from typing import Final

from worker.api.routes import accounts, batch, clients, connect, events, grants, refresh, system, tokens

#: Before all others.
DIRECT: Final = (grants.DIRECT,)
#: In the order of the documentation.
ROUTERS: Final = (
    accounts.router,
    grants.router,
    batch.router,
    refresh.router,
    tokens.router,
    events.router,
    clients.router,
    connect.router,
    system.router,
)
