"""Whether an account can be refreshed as it is configured: asked when it is stored, not at its first call."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import cached_property
from typing import TYPE_CHECKING, Final

from pydantic_core import ErrorDetails

from models.account_state import RefreshMethod, SessionManagement
from models.provider_requirements import check, unfit
from models.providers import Provider
from models.providers.dpop import KEY_FIELD
from models.providers.template import TemplateError, UnfitValue, parse
from models.refresh_request import RefreshRequest
from worker.accounts.entry import Problem, RowRefused
from worker.accounts.provider_names import names_meant
from worker.accounts.unsealed import UnsealedAccount
from worker.crypto.sealer import ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN
from worker.errors import KnobsUnfit
from worker.providers.registry import is_unread
from worker.providers.request.builder import RequestBuilder
from worker.providers.request.dpop import check_key, thumbprint
from worker.providers.request.draft import InvalidRequest

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: So many checked URLs, and shapes of accounts, are remembered: accounts mostly share them.
_REMEMBERED: Final = 4096
_NO_KNOBS: Final = "{}"
#: How a variable of a template begins.
_VARIABLE: Final = "${"


class AccountValidator:
    """Finds an account's provider, and says what is wrong with both together.

    Args:
        known: names of the providers that presets describe.
        provider_of: gives an account's provider with the account's own knobs, None where there is none.
        urls: raise `InvalidRequest` for a URL that no request may go to.
        in_use: gives names of providers that accounts have, to be offered for one that is not known; asked once.
    """

    def __init__(
        self,
        *,
        known: Collection[str],
        provider_of: Callable[[Account], Provider | None],
        urls: RequestBuilder,
        in_use: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._known = known
        self._in_use = in_use
        self._provider_of = provider_of
        self._rules = urls
        self._urls: dict[tuple[object, ...], str | None] = {}
        self._passed: set[tuple[object, ...]] = set()
        self._constant: dict[str, bool] = {}

    def provider(self, account: Account, *, asked: bool = True) -> Provider:
        """Return the account's provider. One that nobody knows is plain OAuth 2.0 where it is not `asked` for anything.

        Raises:
            Refused: nobody knows it, or it does not have one of the account's knobs.
        """
        try:
            found = self._provider_of(account)
        except KnobsUnfit as error:
            raise RowRefused([_knob_problem(item) for item in error.problems]) from None
        if found is None and not asked:
            return Provider(name=account.provider)
        if found is None:
            raise RowRefused([Problem("provider", self._unknown(account.provider))])
        if is_unread(found) and not account.token_url:
            raise RowRefused([Problem("issuer", _no_issuer(found.issuer))])
        if account.knobs != _NO_KNOBS and "hosts" in json.loads(account.knobs):
            raise RowRefused([Problem("hosts", "only the provider's data says it (REFRESHD_PROVIDERS_FILE)")])
        return found

    def check(self, opened: UnsealedAccount, provider: Provider) -> None:
        """Check that a refresh could be sent. An account that is never refreshed by itself needs nothing.

        Raises:
            Refused: with everything that is missing or wrong.
        """
        account = opened.account
        problems: list[Problem] = []
        planned = account.refresh_enabled and account.session_management != SessionManagement.NONE
        is_callback = account.refresh_method == RefreshMethod.CALLBACK
        shape = self._shape(opened, provider)
        if shape is not None and shape in self._passed:
            return
        if planned and is_callback and not account.callback:
            problems.append(Problem("callback", "refresh_method `callback` needs the callback's name"))
        request = opened.request(provider)
        if planned:
            problems += [_split(problem) for problem in check(provider, request)]
            problems += [] if is_callback else key_problems(request)
        problems += self._address_problems(request, own_only=not (planned and _is_judged(request)))
        problems = opened.unreadable() or _explained(problems, account)
        if problems:
            raise RowRefused(problems)
        if shape is not None:
            if len(self._passed) >= _REMEMBERED:
                self._passed.clear()
            self._passed.add(shape)

    def _shape(self, opened: UnsealedAccount, provider: Provider) -> tuple[object, ...] | None:
        """Return all that an account's check depends on; None where it depends on values that no other account has.

        Those are values that templates put into an address, keys, and overrides of the provider.
        """
        account = opened.account
        secrets = tuple(bool(opened.get(name)) for name in (CLIENT_SECRET, ACCESS_TOKEN, REFRESH_TOKEN))
        if account.knobs != _NO_KNOBS or account.server_url or opened.custom_fields or opened.unreadable():
            return None
        url = account.token_url
        if (url and _VARIABLE in url) or not self._is_constant(provider):
            return None
        return (
            provider.name,
            account.provider,
            bool(account.client_id),
            account.client_auth,
            url,
            account.refresh_method,
            account.callback,
            account.refresh_enabled,
            account.session_management,
            bool(account.scope),
            secrets,
            None if opened.client is None else (opened.client.name, *opened.client.token_urls),
        )

    def _is_constant(self, provider: Provider) -> bool:
        """Return whether no template of a provider, without overrides of an account, has a variable."""
        if provider.name not in self._constant:
            if len(self._constant) >= _REMEMBERED:
                self._constant.clear()
            texts = [text for _, text in provider.templates()]
            self._constant[provider.name] = not any(_VARIABLE in text for text in texts)
        return self._constant[provider.name]

    def _address_problems(self, request: RefreshRequest, *, own_only: bool) -> list[Problem]:
        """Check where a request would go; of an account that sends none, only what stands there in full."""
        try:
            template = parse(request.token_url) if request.token_url else None
        except TemplateError as error:
            return [Problem("token_url", str(error))]
        if template is None and not own_only:
            template = request.provider.endpoint
        if template is None or template.unresolved(request.variable):
            return []
        constant = template.constant
        try:
            reason = (
                self._remembered(constant, request)
                if constant
                else self._url_problem(template.url(request.variable), request)
            )
        except UnfitValue as error:
            reason = unfit(error)
        return [_split(reason)] if reason else []

    def _remembered(self, url: str, request: RefreshRequest) -> str | None:
        client = request.shared_client
        hosts = request.provider.allowed_hosts.patterns if _is_judged(request) else None
        key = url, request.provider.name, hosts, None if client is None else client.name
        if key not in self._urls:
            if len(self._urls) >= _REMEMBERED:
                self._urls.clear()
            self._urls[key] = self._url_problem(url, request)
        return self._urls[key]

    def _url_problem(self, url: str, request: RefreshRequest) -> str | None:
        """Return what is wrong with the URL of a request."""
        try:
            if _is_judged(request):
                self._rules.check_token_url(url, request.provider, request.shared_client)
            else:
                self._rules.check(url)
        except InvalidRequest as error:
            return str(error)
        return None

    def _unknown(self, name: str) -> str:
        near = names_meant(name, self._known, [used for used in self._used if used != name])
        hint = f"; is {' or '.join(map(repr, near))} meant?" if near else ";"
        return (
            f"{name!r} is not known, and there is neither a token_url nor a callback{hint} "
            "`refreshd providers list` has all"
        )

    @cached_property
    def _used(self) -> Collection[str]:
        return self._in_use()


def _is_judged(request: RefreshRequest) -> bool:
    """Return whether hosts are held against the URL: a callback knows where to ask, but with its account's own secret alone."""
    return request.refresh_method is not RefreshMethod.CALLBACK or request.shared_client is not None


def _no_issuer(issuer: str | None) -> str:
    if issuer is None:
        return "is missing; expected the URL of an authorization server, as its metadata name it"
    return f"the metadata of {issuer} were not read: `refreshd providers discover {issuer} --keep` reads and stores them"


def key_problems(request: RefreshRequest) -> list[Problem]:
    """Check the key that proves possession, and that it is the access token's; that there has to be one is said already."""
    if not request.custom_fields.get(KEY_FIELD):
        return []
    try:
        thumbprint(request)
        check_key(request)
    except InvalidRequest as error:
        return [_split(str(error))]
    return []


def _split(problem: str) -> Problem:
    field, colon, reason = problem.partition(": ")
    return Problem(field, reason) if colon and " " not in field else Problem("token_url", problem)


def _knob_problem(item: ErrorDetails) -> Problem:
    message = item["msg"].removeprefix("Value error, ")
    location = ".".join(str(step) for step in item["loc"])
    if location:
        return Problem(location, message)
    return _split(message) if ": " in message else Problem("provider", message)


def _explained(problems: list[Problem], account: Account) -> list[Problem]:
    """Leave out what is said twice, and point to the callback that stands there unused."""
    if account.callback and account.refresh_method != RefreshMethod.CALLBACK:
        problems = [
            Problem(one.field, f"{one.reason} (or set refresh_method to `callback`)")
            if one.field == "token_url"
            else one
            for one in problems
        ]
    return list(dict.fromkeys(problems))
