"""A browser's way through a session: what each of its requests leads to, a page or another address.

It knows of no web framework: `worker/api/routes/connect.py` translates. Who asks is known by the key that the browser
has in a cookie; a browser without it neither finishes a session nor ends one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from models.tables.connect_session import NO_WORKER, ConnectSession, ConnectStatus
from models.token import Secret
from worker.connect import reasons
from worker.connect.browser_key import BrowserKey, is_session_id, state_hash
from worker.connect.outcome_urls import lost_url, outcome_url
from worker.connect.redirect import CodeReturned, NoCode, SessionPage, read_redirect, single
from worker.connect.rendering import Theme
from worker.db.intake.connect_sessions import ConnectSessions

#: How soon a waiting page looks again, seconds.
_LOOK_S: Final = 2
_WAITING: Final = frozenset({ConnectStatus.RETURNED, ConnectStatus.EXCHANGING})


class Show(Struct, frozen=True):
    """A page. `key` is what the browser is to keep for this session, for so many seconds."""

    html: str
    status: HTTPStatus = HTTPStatus.OK
    key: BrowserKey | None = None
    keep_s: int = 0


class GoTo(Struct, frozen=True):
    """Another address."""

    url: str


class Code(Struct, frozen=True):
    """What a worker exchanges: the code, its verifier, and what else the redirect says."""

    session: ConnectSession
    code: Secret
    verifier: Secret
    parameters: Mapping[str, str]


class NotSent(Exception):
    """What a worker is to do can't be brought to one."""


class _Begun(Struct, frozen=True):
    """A session that a browser began, and the browser's key."""

    session: ConnectSession
    key: BrowserKey


#: Has a worker exchange a code, and waits for it for a while. Raises `NotSent`.
Exchange = Callable[[Code], Awaitable[None]]
#: Has a worker push what consent is asked with: the session, and the page with the values of its question. Gives the page to
#: send the browser to, or why there is none. Raises `NotSent`.
Push = Callable[[ConnectSession, str], Awaitable[str | NoCode]]
#: Gives the key that the browser has for a session.
KeyOf = Callable[[str], BrowserKey | None]


class Flow:
    """Takes browsers through sessions.

    Args:
        sessions: where sessions are kept.
        exchange: has a worker exchange a code.
        push: has a worker push what consent is asked with, where the provider wants that first.
        url: where browsers reach this process (REFRESHD_API_URL).
        name: who asks; None: the host that the browser goes back to.
        colour: of the pages' button.
        title_of: a provider's name as people write it.
        now: epoch seconds.
    """

    def __init__(
        self,
        *,
        sessions: ConnectSessions,
        exchange: Exchange,
        push: Push,
        url: str,
        name: str | None,
        colour: str,
        title_of: Callable[[str], str],
        now: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._exchange = exchange
        self._push = push
        self._url = url
        self._name = name
        self._colour = colour
        self._title_of = title_of
        self._now = now

    def stylesheet(self) -> str:
        return self._theme(None).css

    def url_of(self, session: ConnectSession) -> str:
        """Return a session's page."""
        return f"{self._url}/connect/{session.id}"

    def open(self, session_id: str, key_of: KeyOf) -> Show | GoTo:
        """Show a session's page: who asks, for what, and the button."""
        session = self._found(session_id)
        if session is None:
            return self._unknown()
        key = key_of(session.id)
        stays = self._elsewhere(session, key)
        if stays is not None:
            return stays
        key = key or BrowserKey.new()
        title = self._title(session)
        page = self._theme(session).page("start.html", provider=title, action=self.url_of(session))
        return Show(page, key=key, keep_s=self._keep_s(session))

    async def begin(self, session_id: str, key_of: KeyOf, *, from_our_page: bool) -> Show | GoTo:
        """Send the browser to the provider: it pressed the button."""
        begun = await asyncio.to_thread(self._begun, session_id, key_of, from_our_page=from_our_page)
        if not isinstance(begun, _Begun):
            return begun
        session, read = begun.session, SessionPage.of_text(begun.session.page)
        target: str | NoCode = read.page.asked(begun.key.asking(session.id, session.redirect_uri))
        if read.pushes and isinstance(target, str):
            try:
                target = await self._push(session, target)
            except NotSent:
                target = NoCode(reasons.NO_WORKER, None)
        if isinstance(target, NoCode):
            await asyncio.to_thread(self._sessions.refused, session.id, str(target.reason), target.detail)
            return await asyncio.to_thread(self.finish, session.id, key_of)
        title = self._title(session)
        page = self._theme(session).page(
            "going.html",
            title=f"Going to {title}",
            text="If nothing happens, use this link.",
            link=f"Continue to {title}",
            target=target,
            after_s=0,
        )
        return Show(page, key=begun.key, keep_s=self._keep_s(session))

    def _begun(self, session_id: str, key_of: KeyOf, *, from_our_page: bool) -> _Begun | Show | GoTo:
        """Bind a session to the browser that begins it."""
        session = self._found(session_id)
        if session is None:
            return self._unknown()
        key = key_of(session.id)
        stays = self._elsewhere(session, key)
        if stays is not None:
            return stays
        if key is None or not from_our_page:
            return self._no_cookie(session)
        asking = key.asking(session.id, session.redirect_uri)
        if not self._sessions.begin(
            session.id, state_hash=state_hash(asking.state), browser_hash=key.hash(session.id)
        ):
            return self.open(session_id, key_of)  # it moved on, or ended, right now
        return _Begun(self._sessions.find(session_id) or session, key)

    async def back(self, query: Sequence[tuple[str, str]], key_of: KeyOf) -> Show | GoTo:
        """Take what the provider's redirect brought. It is read once; the same again leads to what became of it."""
        parameters = single(query)
        state = (parameters or {}).get("state")
        if parameters is None or not state:
            return self._foreign()
        session = await asyncio.to_thread(self._sessions.find_by_state, state_hash(state))
        if session is None:
            return self._foreign()
        key = key_of(session.id)
        if key is None or not key.is_of(session.id, session.browser_hash):
            return self._lost(session)
        if session.status == ConnectStatus.STARTED:
            await self._take(session, key, parameters)
        return await asyncio.to_thread(self.finish, session.id, key_of)

    async def _take(self, session: ConnectSession, key: BrowserKey, parameters: Mapping[str, str]) -> None:
        match read_redirect(parameters, SessionPage.of_text(session.page)):
            case NoCode(reason, detail):
                await asyncio.to_thread(self._sessions.refused, session.id, str(reason), detail)
            case CodeReturned(code, rest):
                if not await asyncio.to_thread(self._sessions.returned, session.id):
                    return  # the same redirect, twice at once
                verifier = key.asking(session.id, session.redirect_uri).verifier
                try:
                    await self._exchange(Code(session, code, verifier, rest))
                except NotSent:
                    await asyncio.to_thread(self._sessions.given_up, session.id, NO_WORKER)

    def finish(self, session_id: str, key_of: KeyOf) -> Show | GoTo:
        """Send the browser back to the platform, once it is known what became of the session."""
        session = self._found(session_id)
        if session is None:
            return self._unknown()
        key = key_of(session.id)
        if key is None or not key.is_of(session.id, session.browser_hash):
            return self._lost(session)
        if session.has_ended:
            return GoTo(outcome_url(session))
        if session.status in _WAITING:
            return self._wait(session)
        return self.open(session_id, key_of)

    def _title(self, session: ConnectSession) -> str:
        return SessionPage.of_text(session.page).title or self._title_of(session.provider)

    def _found(self, session_id: str) -> ConnectSession | None:
        return self._sessions.find(session_id) if is_session_id(session_id) else None

    def _elsewhere(self, session: ConnectSession, key: BrowserKey | None) -> Show | None:
        """Return what a browser is shown for which there is nothing to begin; None: it may begin."""
        if session.has_ended:
            return self._over(session)
        if session.browser_hash is not None and (
            key is None or not key.is_of(session.id, session.browser_hash)
        ):
            return self._lost(session)
        return self._wait(session) if session.status in _WAITING else None

    def _wait(self, session: ConnectSession) -> Show:
        page = self._theme(session).page(
            "going.html",
            title="Almost done",
            text=f"The connection to {self._title(session)} is being completed. This page goes on by itself.",
            link="Look again",
            target=f"{self.url_of(session)}/finish",
            after_s=_LOOK_S,
        )
        return Show(page)

    def _over(self, session: ConnectSession) -> Show:
        title = self._title(session)
        if session.status == ConnectStatus.CONNECTED:
            return self._message(
                session, f"{title} is connected", ["There is nothing more to do here."], outcome_url(session)
            )
        return self._message(
            session,
            f"{title} is not connected",
            [
                reasons.message_of(session.reason),
                "Go back and connect again to get a new page like this one.",
            ],
            outcome_url(session),
            HTTPStatus.GONE,
        )

    def _lost(self, session: ConnectSession) -> Show:
        """Show a browser that is not the session's what to do; the session goes on in the one that is."""
        return self._message(
            session,
            "This was begun in another browser",
            [
                "For your safety, only the browser in which you pressed the button can go on, and it has to keep cookies.",
                "Go on there, or go back and connect again in this browser.",
            ],
            lost_url(session),
            HTTPStatus.FORBIDDEN,
        )

    def _no_cookie(self, session: ConnectSession) -> Show:
        return self._message(
            session,
            "This browser did not keep a cookie",
            [
                "Connecting needs one cookie, which is gone after some minutes.",
                "Allow cookies for this site, then go back and connect again.",
            ],
            lost_url(session),
            HTTPStatus.FORBIDDEN,
        )

    def _unknown(self) -> Show:
        return self._message(
            None,
            "There is no such page",
            [
                "The link is incomplete, or was made too long ago. Go back to where you came from and connect again."
            ],
            None,
            HTTPStatus.NOT_FOUND,
        )

    def come_again(self, target: str, *, after_s: int) -> Show:
        """Show a browser whose network asks too often when it goes on."""
        page = self._theme(None).page(
            "going.html",
            title="One moment",
            text="Too many requests came from your network. Nothing is lost: this page goes on by itself.",
            link="Go on",
            target=target,
            after_s=after_s,
        )
        return Show(page, HTTPStatus.TOO_MANY_REQUESTS)

    def _foreign(self) -> Show:
        return self._message(
            None,
            "This answer was not expected",
            [
                "It belongs to no connection that was begun here, or to one of long ago. Nothing was connected.",
                "Go back to where you came from and connect again.",
            ],
            None,
            HTTPStatus.BAD_REQUEST,
        )

    def _message(
        self,
        session: ConnectSession | None,
        title: str,
        paragraphs: Sequence[str],
        target: str | None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Show:
        theme = self._theme(session)
        page = theme.page(
            "message.html", title=title, paragraphs=paragraphs, target=target, link=f"Back to {theme.name}"
        )
        return Show(page, status)

    def _theme(self, session: ConnectSession | None) -> Theme:
        host = urlsplit(session.return_url).hostname if session is not None else None
        return Theme(self._url, self._name or host or "Connect", self._colour)

    def _keep_s(self, session: ConnectSession) -> int:
        """Return how long the browser keeps its key: past the end, for whoever presses "back" then."""
        return int(max(0.0, session.ends_at - self._now())) + _KEPT_BEYOND_S


#: A code that comes at the last moment is waited for.
_KEPT_BEYOND_S: Final = 900
