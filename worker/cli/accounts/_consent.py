"""Consent asked for at a terminal: a page is opened, or a code is shown, and the command waits for the answer."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from msgspec.structs import replace
from rich.text import Text

from models.answer import Answer
from models.refresh_request import RefreshRequest
from models.token import Secret, TokenResponse
from worker.accounts.grants.authorization import tokens_of
from worker.cli.terminal.console import err
from worker.cli.terminal.prompts import ask
from worker.context import AppContext
from worker.durations import duration
from worker.errors import RefreshdError, UsageError
from worker.intake.services import provider_client
from worker.providers.authorization import (
    AUTHORIZATION_PENDING,
    SLOW_DOWN,
    SLOWER_S,
    Asking,
    DeviceCode,
    code_request,
    consent_url,
    device_request,
    device_token_request,
    issuer_problem,
    pushed_page,
    pushed_request,
    read_device_code,
)
from worker.providers.authorization.loopback_redirect import (
    LOOPBACK_HOSTS,
    LoopbackRedirect,
    is_answer,
    parameters_of,
)
from worker.providers.request.builder import RequestBuilder
from worker.providers.request.draft import InvalidRequest

#: How often a waiting terminal looks up, so that Ctrl-C is heard at once.
_LOOK_S: Final = 0.2


class NoConsent(RefreshdError):
    """The owner or the provider refused, or no answer came in time. Nothing was stored."""


class Consent:
    """Asks for one account's consent. Leaving the block closes the connections.

    Args:
        here: this environment.
        opens_browser: open pages in the browser of this machine.
        timeout_s: how long to wait for the owner.
    """

    def __init__(self, here: AppContext, *, opens_browser: bool, timeout_s: float) -> None:
        self._check = RequestBuilder(here.allow_http_hosts).check
        self._client = provider_client(here)
        self._call_timeout_s = here.settings.call_timeout_s
        self._clock = here.clock
        self._opens_browser = opens_browser and _has_browser()
        self._timeout_s = timeout_s
        self._runner = asyncio.Runner()
        #: When the tokens were asked for, epoch seconds.
        self.issued_at = 0.0
        #: Facts of the account that came with the redirect, to keep among its custom fields.
        self.redirect_fields: dict[str, Secret] = {}

    def in_browser(self, request: RefreshRequest, *, redirect_uri: str | None, pastes: bool) -> TokenResponse:
        """Ask by authorization code with PKCE.

        Args:
            request: the account.
            redirect_uri: the one that the client is registered with, if the provider does not take any port
                of a loopback address (RFC 8252 section 7.3).
            pastes: the person brings the answer: copies the address at which the browser ended.

        Raises:
            NoConsent: there is none.
            UsageError: it can't be asked for like this.
        """
        asking = Asking.begin(redirect_uri or "")
        if not pastes and (redirect_uri is None or _is_ours(redirect_uri)):
            with _listening(asking, redirect_uri) as server:
                asking = Asking(server.redirect_uri, asking.state, asking.verifier)
                self._show(self._page(request, asking))
                parameters = self._wait(server)
        elif redirect_uri is None:
            raise UsageError("--paste: give --redirect-uri, one that the client is registered with")
        else:
            self._show(self._page(request, asking))
            parameters = _pasted(asking.state)
        problem = issuer_problem(request.provider, parameters)
        if problem is not None:
            raise NoConsent(f"{problem} [wrong_issuer]")
        if "error" in parameters:
            raise NoConsent(_refusal(parameters["error"], parameters.get("error_description")))
        wanted = request.provider.redirect_fields
        self.redirect_fields = {
            field: Secret(parameters[name]) for name, field in wanted.items() if name in parameters
        }
        request = replace(request, custom_fields={**request.custom_fields, **self.redirect_fields})
        return self._tokens(self._call(code_request(request, asking, parameters["code"])))

    def on_another_device(self, request: RefreshRequest) -> TokenResponse:
        """Ask by device code (RFC 8628).

        Raises:
            NoConsent: there is none.
        """
        try:
            answer = self._call(device_request(request, now=self._clock.now()))
        except InvalidRequest as error:
            raise UsageError(str(error)) from None
        device = read_device_code(answer, default_lifetime_s=self._timeout_s)
        if device is None:
            raise NoConsent(f"no device code: {_words(answer)}")
        page = device.complete_uri or device.verification_uri
        if not _is_page(page):
            raise NoConsent("no device code: the provider names a page that is none")
        err.print(Text.assemble("\nThe code is  ", (device.user_code, "bold")), soft_wrap=True)
        self._show(page)
        with _spinner(f"Waiting for the code to be typed in, for {duration(device.lifetime_s)} at most"):
            return self._poll(request, device)

    def _page(self, request: RefreshRequest, asking: Asking) -> str:
        try:
            page = consent_url(request, asking, check=self._check, now=self._clock.now())
            if request.provider.par_url is None:
                return page
            pushed = self._call(pushed_request(request, page, now=self._clock.now()))
        except InvalidRequest as error:
            raise UsageError(str(error)) from None
        if pushed.token is None:
            raise NoConsent(f"what consent is asked with was refused: {_words(pushed)}")
        return pushed_page(page, request.client_id or "", pushed.token.access_token.reveal())

    def _show(self, page: str) -> None:
        opened = self._opens_browser and webbrowser.open(page)
        what = "This page was opened in your browser:" if opened else "Open this page in a browser:"
        err.print(f"\n{what}\n")
        err.plain(page, style="cyan")
        err.print()

    def _wait(self, server: LoopbackRedirect) -> dict[str, str]:
        ends_at = time.monotonic() + self._timeout_s
        with _spinner(f"Waiting for consent, for {duration(self._timeout_s)} at most"):
            while (left_s := ends_at - time.monotonic()) > 0:
                found = server.wait(min(left_s, _LOOK_S))
                if found is not None:
                    return dict(found)
        raise NoConsent(f"no consent within {duration(self._timeout_s)} (--timeout)")

    def _poll(self, request: RefreshRequest, device: DeviceCode) -> TokenResponse:
        ends_at = time.monotonic() + min(device.lifetime_s, self._timeout_s)
        interval_s = device.interval_s
        while time.monotonic() + interval_s < ends_at:
            time.sleep(interval_s)
            answer = self._call(device_token_request(request, device))
            if answer.error == SLOW_DOWN:
                interval_s += SLOWER_S
            elif answer.fault is not None:
                interval_s *= 2  # RFC 8628 section 3.5, for a connection that times out
            elif answer.error != AUTHORIZATION_PENDING:
                return self._tokens(answer)
        raise NoConsent("the code ended before it was typed in")

    def _call(self, request: RefreshRequest) -> Answer:
        async def call() -> Answer:
            deadline = asyncio.get_running_loop().time() + self._call_timeout_s
            return await self._client.call(request, deadline=deadline)

        self.issued_at = self._clock.now()
        return self._runner.run(call())

    def _tokens(self, answer: Answer) -> TokenResponse:
        granted = tokens_of(answer)
        if granted is None:
            raise NoConsent(_words(answer))
        return granted

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.__exit__(kind, error, trace)


@contextmanager
def _listening(asking: Asking, redirect_uri: str | None) -> Iterator[LoopbackRedirect]:
    try:
        server = LoopbackRedirect(asking.state, redirect_uri)
    except OSError as error:
        raise UsageError(
            f"--redirect-uri {redirect_uri}: its port can't be listened on: {error.strerror}"
        ) from None
    with server:
        yield server


@contextmanager
def _spinner(words: str) -> Iterator[None]:
    """Show what is waited for; a log gets the words alone."""
    if not err.is_terminal:
        err.print(words, style="dim")
        yield
        return
    with err.status(f"{words}. Ctrl-C ends it; nothing is stored then."):
        yield


def _pasted(state: str) -> dict[str, str]:
    """Ask for the address at which the browser ended."""
    while True:
        address = ask("The address at which the browser ended")
        parameters = parameters_of(address.strip())
        if is_answer(parameters, state):
            return parameters
        err.print(
            "That is not the answer: an address with `code=` and this run's `state=` is.", style="yellow"
        )


def _is_ours(redirect_uri: str) -> bool:
    address = urlsplit(redirect_uri)
    return address.scheme == "http" and address.hostname in LOOPBACK_HOSTS


def _is_page(address: str) -> bool:
    return urlsplit(address).scheme in {"https", "http"}


def _has_browser() -> bool:
    """Return whether a page can be shown here: a text browser would take the terminal."""
    if sys.platform in {"darwin", "win32"} or "BROWSER" in os.environ:
        return True
    return any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _words(answer: Answer) -> str:
    """Return what an answer without a token said."""
    if answer.error is not None:
        return _refusal(answer.error, answer.error_description)
    if answer.fault is not None:
        return f"the provider can't be asked: {answer.fault}{f' ({answer.fault_detail})' if answer.fault_detail else ''}"
    return f"the provider answered {answer.status} without a token or a reason: {answer.error_description or ''}".rstrip(
        ": "
    )


def _refusal(error: str, description: str | None) -> str:
    return f"the provider says {error[:100]}{f': {description[:500]}' if description else ''}"
