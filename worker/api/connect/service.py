"""Connect in the API process: sessions are opened, browsers taken through them, and codes brought to workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.tables.connect_session import ConnectSession
from worker.accounts.return_urls import entries_of
from worker.api.auth import Caller
from worker.api.context import ApiContext
from worker.api.replies import ask
from worker.connect import reasons
from worker.connect.flow import Code, Flow, NotSent
from worker.connect.opening import NOTHING_FOUND, Opener, Wanted
from worker.connect.redirect import NoCode
from worker.db.intake.connect_sessions import ConnectSessions
from worker.db.intake.connectable import Connectable
from worker.errors import RefreshdError
from worker.intake.client import NoWorkerAnswered
from worker.intake.requests import Op, RequestTooLong
from worker.log import log
from worker.providers.discovery.registration import CLIENT_NAME
from worker.providers.request.builder import RequestBuilder
from worker.settings.connect import ConnectSettings, load_connect_settings

#: A browser waits for the exchange so long, with nothing on its screen; then a page waits in its place.
_WAIT_S: Final = 8.0
#: A worker waits for the provider so long at most, with its default settings, before the browser goes on.
_PUSH_S: Final = 30.0


class ConnectService:
    """What the routes of Connect use.

    Args:
        here: what the process stands on.
        settings: how the pages look; None: what the environment says.
    """

    def __init__(self, here: ApiContext, settings: ConnectSettings | None = None) -> None:
        looks = settings or load_connect_settings()
        self._here = here
        self.url = here.api.base_url
        self.sessions = ConnectSessions(here.writer, exchange_s=here.settings.claim_seconds)
        self.opener = Opener(
            connectable=Connectable(here.engine),
            sessions=self.sessions,
            provider_of=here.providers.of,
            check=RequestBuilder(here.settings.allow_http_hosts).check,
            sealer=here.intake_sealer,
            now=here.clock.now,
            url=self.url,
            return_urls=entries_of(looks.return_urls),
        )
        #: Who asks, for documents that servers show.
        self.client_name = looks.name or CLIENT_NAME
        self.flow = Flow(
            sessions=self.sessions,
            exchange=self._exchange,
            push=self._push,
            url=self.url,
            name=looks.name,
            colour=looks.colour,
            title_of=self._title_of,
            now=here.clock.now,
        )

    def _title_of(self, name: str) -> str:
        provider = self._here.providers.known.get(name)
        return (provider.title if provider is not None else None) or name

    async def found(self, wanted: Wanted, caller: Caller) -> Mapping[str, Any]:
        """Have a worker find what a wish by `resource` or `issuer` leads to; nothing where it names neither.

        Raises:
            Problem: it leads to nothing.
            NoWorkerAnswered: no worker says.
        """
        if wanted.resource is None and wanted.issuer is None:
            return NOTHING_FOUND
        payload = {
            "resource": wanted.resource,
            "issuer": wanted.issuer,
            "client": wanted.client,
            "base_url": self.url,
            "name": self.client_name,
        }
        found = await ask(self._here, caller, Op.PREPARE_CONNECT, payload, calls_provider=True)
        await self._here.read(lambda: self._here.issuer_providers.forget(str(found["issuer"])))
        return found

    async def _push(self, session: ConnectSession, page: str) -> str | NoCode:
        """Have a worker push what consent is asked with.

        Raises:
            NotSent: no worker did.
        """
        workers = await self._here.intake()
        try:
            reply = await workers.ask(
                Op.PUSH_CONSENT,
                actor=f"{session.actor} (connect)",
                require_labels=session.key_label_set,
                payload={"session": session.id, "page": page},
                timeout_s=_PUSH_S,
            )
        except (RefreshdError, RequestTooLong) as error:
            log.error("connect_not_sent", error=str(error))
            raise NotSent from None
        if "url" in reply.result:
            return str(reply.result["url"])
        reason = reasons.REASONS.get(reply.result.get("reason", ""), reasons.INTERRUPTED)
        return NoCode(reason, reply.result.get("detail") or reply.detail or None)

    async def _exchange(self, code: Code) -> None:
        """Have a worker exchange a code, and wait for it for a while.

        Raises:
            NotSent: no worker will.
        """
        session = code.session
        payload = {
            "session": session.id,
            "code": code.code.reveal(),
            "verifier": code.verifier.reveal(),
            "parameters": dict(code.parameters),
        }
        try:
            await self._here.workers.ask(
                Op.EXCHANGE_CODE,
                actor=f"{session.actor} (connect)",
                require_labels=session.key_label_set,
                payload=payload,
                timeout_s=_WAIT_S,
            )
        except NoWorkerAnswered:
            return  # one may be at work: the session says what became of it
        except (RefreshdError, RequestTooLong) as error:
            log.error("connect_not_sent", error=str(error))
            raise NotSent from None
