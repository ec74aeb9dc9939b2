"""Questions for one account's fields at a terminal. An answer is checked when it is given; what was answered stays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from models.provider_requirements import needed
from models.providers import ClientAuth
from models.tables.account import RefreshMethod, SessionManagement
from models.tables.client import Client
from worker.accounts.apply import Applier, DueSpreader
from worker.accounts.columns import OF_THE_CLIENT, ColumnKind, column_of
from worker.accounts.configuration import KnownClients
from worker.accounts.entry import Problem, RowRefused, read_entry
from worker.cli.accounts._fields import is_hidden
from worker.cli.accounts._services import AccountServices
from worker.cli.providers import named_like
from worker.cli.terminal.console import err
from worker.cli.terminal.prompts import ask
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S
from worker.providers.registry import GENERIC

_OPTIONAL_OF_ANY_PROVIDER: Final = ("client_id", "client_secret", "access_token")
#: Which of them a callback needs, only it knows.
_OPTIONAL_OF_A_CALLBACK: Final = (*_OPTIONAL_OF_ANY_PROVIDER, "refresh_token")
#: An account that names a client takes these from it.
_OF_A_CLIENT: Final = (*OF_THE_CLIENT, "client_secret", "token_url")
#: So many providers are offered for a part of a name.
_OFFERED: Final = 8
#: Fields that say nothing of themselves at first sight.
_HINTS: Final = {
    "id": " (a name of your choice)",
    "provider": " (a name or a part of one, such as google)",
    "token_url": " (where tokens are refreshed, https://...)",
}


class Questions:
    """Completes the fields of a new account.

    Args:
        row: the fields that are there; answers are added to it.
        services: what the account would be stored with.
    """

    def __init__(self, row: dict[str, str], services: AccountServices) -> None:
        self._row = row
        self._services = services
        self._known = services.stores.providers.known
        # One of its own: what is only tried does not count among the accounts that are spread over a provider's rate.
        self._trial = Applier(
            sealer=services.stores.sealer,
            checker=services.checker,
            spread=DueSpreader(ASSUMED_REQUESTS_PER_S),
            clients=KnownClients(lambda: services.stores.clients),
        )

    def ask_what_is_missing(self) -> None:
        """Ask for the id, the provider, and what a refresh at this provider needs."""
        row = self._row
        client = self._client()
        self._ask("id")
        if client is None and "provider" not in row:
            row["provider"] = self._provider()
        provider = row["provider"] if client is None else row.get("provider", client.provider)
        preset = self._known.get(provider.strip().lower())
        if row.get("refresh_method") == RefreshMethod.CALLBACK:
            self._ask_optional(_OPTIONAL_OF_A_CALLBACK)
            return
        if not self._is_planned():
            return
        auth: ClientAuth | None = None
        with suppress(ValueError):  # a wrong one is named when the account is stored
            auth = ClientAuth(row["client_auth"]) if "client_auth" in row else None
        has_endpoint = preset is not None and preset.endpoint is not None
        # The address first: it is what a person knows of a provider that nothing else is known of.
        for name in sorted(needed(preset or self._known[GENERIC], auth), key=lambda one: one != "token_url"):
            is_there = name == "token_url" and has_endpoint
            if not (is_there or (client is not None and name in _OF_A_CLIENT)):
                self._ask(name)
        if client is None and not has_endpoint:
            self._ask_optional(_OPTIONAL_OF_ANY_PROVIDER)

    def ask_again(self, problems: Sequence[Problem]) -> bool:
        """Ask for what can't be stored as it is; False where no answer could help."""
        fields = [problem.field for problem in problems]
        if not all(map(_can_be_asked, fields)):
            return False
        for problem in problems:
            _show(problem)
            self._row.pop(problem.field, None)
        for field in dict.fromkeys(fields):
            if field == "provider":
                self._row[field] = self._provider()
            else:
                self._ask(field, optional="client" in self._row and field in _OF_A_CLIENT)
        return True

    def _ask(self, name: str, *, optional: bool = False) -> None:
        """Ask for a field that is not there, until its answer can be used."""
        hint = " (Enter for none)" if optional else _HINTS.get(name, "")
        while name not in self._row:
            answer = ask(name + hint, hidden=is_hidden(name), optional=optional)
            problem = self._problem(name, answer)
            if problem is None:
                self._row[name] = answer
            else:
                _show(problem)

    def _ask_optional(self, names: Sequence[str]) -> None:
        for name in names:
            self._ask(name, optional=True)

    def _client(self) -> Client | None:
        """Return the client that the fields name; ask again for a name that no client has."""
        row = self._row
        if "client" not in row:
            return None
        if problem := self._problem("client", row["client"]):
            _show(problem)
            del row["client"]
            self._ask("client", optional=True)
        name = row["client"].strip()
        if not name:
            del row["client"]
            return None
        return self._services.stores.clients.find([name]).get(name)

    def _provider(self) -> str:
        """Ask for a provider; a part of a name shows those that hold it, and the same again is a name of its own."""
        refused = None
        while True:
            name = ask("provider" + _HINTS["provider"]).strip()
            if problem := _unfit(name):
                _show(problem)
                continue
            near = [] if name == refused else named_like(name, self._known)
            if name.lower() in self._known or not near:
                return name
            refused = name
            for offered in near[:_OFFERED]:
                err.plain(f"  {offered}  {self._known[offered].title or ''}", style="cyan")
            more = len(near) - _OFFERED
            err.plain(
                f"  {f'and {more} more; ' if more > 0 else ''}type one of them, or {name} again for a provider without a preset",
                style="dim",
            )

    def _problem(self, name: str, answer: str) -> Problem | None:
        """Return what is wrong with an answer, beside what has been answered before it."""
        try:
            entry = read_entry({"id": "new", **self._row, name: answer}, cells=True)
            if name == "id":
                taken = self._services.accounts.find([entry.id])
                return Problem("id", "exists already; `refreshd accounts edit` changes it") if taken else None
            self._trial.know_clients([entry])
            self._trial.add(entry, retired=0, now=self._services.stores.clock.now())
        except RowRefused as refused:
            return next((problem for problem in refused.problems if problem.field == name), None)
        return None

    def _is_planned(self) -> bool:
        try:
            settings = read_entry({"id": "new", **self._row}, cells=True).settings
        except RowRefused:  # named when the account is stored
            return True
        return (
            settings.get("refresh_enabled") is not False
            and settings.get("session_management") != SessionManagement.NONE
        )


def _unfit(provider: str) -> Problem | None:
    """Return why this can't be a provider's name."""
    if "://" in provider:
        return Problem(
            "provider", "expected a name; any of your choice will do, and its URL is asked for next"
        )
    try:
        read_entry({"id": "new", "provider": provider}, cells=True)
    except RowRefused as refused:
        return next((one for one in refused.problems if one.field == "provider"), None)
    return None


def _can_be_asked(field: str) -> bool:
    column = column_of(field)
    return column is not None and column.kind is not ColumnKind.LABELS


def _show(problem: Problem) -> None:
    err.plain(f"  {problem}", style="red")
