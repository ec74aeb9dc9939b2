"""`refreshd pause` and `refreshd resume`: planned refreshes stop and go on, by a person's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated, Any, Final

import typer

from models.pause_scope import PauseEntry, Scope
from worker.cli.terminal.console import ago_or_in, out, print_json
from worker.cli.terminal.context import open_stores
from worker.cli.terminal.labels import labels_of
from worker.context import AppContext
from worker.db.accounts.stored import Accounts, knows_provider
from worker.durations import seconds_of
from worker.errors import InputError, UnknownAccount, UsageError

Ids = Annotated[list[str] | None, typer.Argument(metavar="ACCOUNT...", help="Ids of accounts.")]
Provider = Annotated[
    list[str] | None, typer.Option("--provider", metavar="NAME", help="A provider; may be repeated.")
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="NAME=VALUE", help="All accounts with a label; may be repeated, each by itself."
    ),
]
Everything = Annotated[bool, typer.Option("--all", help="Everything.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON Lines.")]

#: Other pauses are named up to this many.
_NAMED_MAX: Final = 5


def pause(
    accounts: Ids = None,
    provider: Provider = None,
    label: Label = None,
    everything: Everything = False,
    reason: Annotated[str, typer.Option(help="Why: shown wherever the pause is.")] = "",
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="End by itself after 30m, 2h, 1d ...")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tokens that connectors reject are not refreshed either; calls under way end and are stored.

    Published tokens are used until they expire, and `status` counts the expired ones. `refresh ID --force` still refreshes one account. Idempotent: an existing pause keeps its start and takes the new reason and end.
    """
    for_s = None if for_ is None else seconds_of(for_, option="--for")
    with open_stores() as here:
        wanted = _wanted(here, accounts, provider, label, everything=everything)
        if not wanted:
            if reason or for_:
                raise UsageError("say what: ids of accounts, --provider NAME, --label NAME=VALUE or --all")
            _show_all(here, as_json=as_json)
        for scope, names in wanted.items():
            new = here.pauses.pause(scope, names, for_s=for_s, reason=reason, actor=here.actor)
            until = None if for_s is None else here.clock.now() + for_s
            for name in names:
                _say(scope, name, "paused" if new[name] else "paused already", until, as_json=as_json)


def resume(
    accounts: Ids = None,
    provider: Provider = None,
    label: Label = None,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """[b]--all[/b] ends the pause of everything; pauses of single providers, labels and accounts stay, and are listed."""
    with open_stores() as here:
        wanted = _wanted(here, accounts, provider, label, everything=everything)
        if not wanted:
            raise UsageError(
                "say what: ids of accounts, --provider NAME, --label NAME=VALUE or --all. `refreshd pause` shows what is paused"
            )
        for scope, names in wanted.items():
            ended = here.pauses.resume(scope, names, actor=here.actor)
            for name in names:
                still = _still(here, scope, name)
                _say(scope, name, "resumed" if name in ended else "not paused", None, still, as_json=as_json)


def words_of(pause: PauseEntry, *, now: float) -> str:
    """Say of a pause what it holds, since when, until when, by whom and why."""
    end = "" if pause.until is None else f", ends {ago_or_in(pause.until, now=now)}"
    why = f": {pause.reason}" if pause.reason else ""
    return (
        f"{pause.what} since {ago_or_in(pause.paused_at, now=now)}{end}, by {pause.actor}@{pause.host}{why}"
    )


def pause_json(pause: PauseEntry) -> dict[str, Any]:
    """Return a pause as scripts read it."""
    return {name: value for name, value in asdict(pause).items() if name != "resumed"}


def _wanted(
    here: AppContext,
    accounts: Sequence[str] | None,
    providers: Sequence[str] | None,
    labels: Sequence[str] | None,
    *,
    everything: bool,
) -> dict[Scope, list[str]]:
    """Return what is named, each checked before anything is done."""
    ids = list(dict.fromkeys(accounts or ()))
    found = Accounts(here.engine).find(ids) if ids else {}
    for account_id in ids:
        if account_id not in found:
            raise UnknownAccount(account_id)
    names = list(dict.fromkeys(_known(here, name) for name in providers or ()))
    wanted = {
        Scope.ALL: [""] if everything else [],
        Scope.PROVIDER: names,
        Scope.LABEL: list(dict.fromkeys(_label(word) for word in labels or ())),
        Scope.ACCOUNT: ids,
    }
    return {scope: named for scope, named in wanted.items() if named}


def _label(word: str) -> str:
    ((name, value),) = labels_of([word]).items()
    return f"{name}={value}"


def _known(here: AppContext, name: str) -> str:
    for spelled in (name, name.strip().lower()):
        if spelled in here.providers.known or knows_provider(here.engine, spelled):
            return spelled
    near = get_close_matches(name.lower(), here.providers.known, 1)
    hint = f"; the nearest is {near[0]!r}" if near else ""
    raise InputError(
        "--provider", f"no account is of a provider {name!r}, and none is described by that name{hint}"
    )


def _still(here: AppContext, scope: Scope, name: str) -> list[PauseEntry]:
    """Return the pauses that hold something of it still."""
    if scope is Scope.ACCOUNT:
        account = Accounts(here.engine).find([name])[name]
        return here.pauses.of(name, account.provider)
    return [one for one in here.pauses.all() if scope is Scope.ALL or one.scope == Scope.ALL]


def _show_all(here: AppContext, *, as_json: bool) -> None:
    found, now = here.pauses.all(), here.clock.now()
    for one in found:
        if as_json:
            print_json(pause_json(one))
        else:
            out.plain(words_of(one, now=now))
    if not found and not as_json:
        out.plain(
            "Nothing is paused. `refreshd pause ACCOUNT...`, `--provider NAME`, `--label NAME=VALUE` or `--all` pauses planned refreshes."
        )


def _say(
    scope: Scope,
    name: str,
    outcome: str,
    until: float | None,
    still: Sequence[PauseEntry] = (),
    *,
    as_json: bool,
) -> None:
    if as_json:
        line: dict[str, Any] = {"scope": scope.value, "name": name, "outcome": outcome.replace(" ", "_")}
        if still:
            line["still_paused"] = [{"scope": one.scope, "name": one.name} for one in still]
        print_json(line if until is None else line | {"until": until})
        return
    what = "everything" if scope is Scope.ALL else f"{scope.value} {name}"
    end = "" if until is None else f", ends {ago_or_in(until)}"
    rest = ""
    if still:
        more = len(still) - _NAMED_MAX
        named = ", ".join(one.what for one in still[:_NAMED_MAX]) + (
            f" and {more:,} more" if more > 0 else ""
        )
        rest = f"; still paused: {named}"
    out.plain(f"{what}: {outcome}{end}{rest}")
