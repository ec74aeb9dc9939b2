"""`refreshd callbacks test`: one run on a real worker, through the path of every refresh, with the account's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from models.outcome import OWN_LINE
from models.tables.account import Account, RefreshMethod
from models.tables.attempt import Attempt, Outcome, Trigger
from models.tables.audit import Act, Action
from worker.broker.queues import CALLBACK, CALLBACK_WORKER
from worker.callbacks.catalog import CallbackCatalog, unknown_words
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.celery.forced_refresh import send
from worker.cli.refresh.requests import outcomes
from worker.cli.terminal.console import ago_or_in, err, out, print_json
from worker.cli.terminal.context import accounts_of, open_stores
from worker.context import AppContext
from worker.errors import RefreshdError, UsageError, WaitTimedOut
from worker.policy.reasons import message_of
from worker.policy.reasons.done import STASH_ADOPTED
from worker.redis.client import in_words


class NotRegistered(RefreshdError):
    """No running worker knows the callback."""


def try_command(
    name: Annotated[str, typer.Argument(help="The callback.", metavar="NAME")],
    account: Annotated[str, typer.Option("--account", "-a", help="The account whose inputs it is given.")],
    apply: Annotated[bool, typer.Option("--apply", help="Store what it returns, as a refresh does.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.", min=1)] = 90,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Shows the inputs (masked), its output, its result, the verdict, and what would be stored.

    The result is stored with [b]--apply[/b] alone. Exits with 1 if it brought no token.
    """
    with open_stores() as here:
        (row,) = accounts_of(here, [account])
        known_to = _check(here, row, name, apply=apply)
        trigger = Trigger.FORCED if apply else Trigger.TEST
        if apply:
            here.audit.record(here.actor, Act(Action.CALLBACK_TEST, row.id, row.provider, {"callback": name}))
        attempt = _run(here, row, trigger, timeout_s)
        if not apply and attempt.reason == STASH_ADOPTED:
            # What an earlier test had put aside was stored first; this test runs on top of it.
            (row,) = accounts_of(here, [account])
            attempt = _run(here, row, trigger, timeout_s)
        if as_json:
            print_json(_as_json(name, attempt, known_to, applied=apply))
        else:
            _show(name, row, attempt, known_to, applied=apply)
        if attempt.outcome != Outcome.REFRESHED:
            raise typer.Exit(1)


def _check(here: AppContext, row: Account, name: str, *, apply: bool) -> list[str]:
    """Find what keeps the test from being made before it is sent; returns the workers that know the callback.

    Raises:
        UsageError: the account names another callback, or is not refreshed by callbacks.
        NotRegistered: no running worker knows the callback.
    """
    if row.callback != name:
        named = f"names the callback {row.callback!r}" if row.callback else "names no callback"
        raise UsageError(f"{row.id} {named}: `refreshd accounts edit {row.id} callback={name}`, then test it")
    if apply and row.refresh_method != RefreshMethod.CALLBACK:
        raise UsageError(
            f"{row.id} is refreshed by `{row.refresh_method}`, so nothing of a callback is stored: "
            f"`refreshd accounts edit {row.id} refresh_method=callback` first"
        )
    with in_words(here.settings.redis):
        offers = CallbackHeartbeats(here.redis, here.settings.redis_prefix).offers()
    known_to = [worker for worker, offer in offers.items() if name in offer.callbacks]
    if not known_to:
        raise NotRegistered(_not_registered(name, offers))
    return known_to


def _not_registered(name: str, offers: Mapping[str, CallbackCatalog]) -> str:
    if not offers:
        return f"no callback worker runs: `refreshd up` has one, or start `{CALLBACK_WORKER}`"
    known = {known: None for offer in offers.values() for known in offer.callbacks}
    problems = [
        f"{worker}: {where} can't be used: {why}"
        for worker, offer in offers.items()
        for where, why in offer.problems.items()
    ]
    remedy = "list its module in REFRESHD_CALLBACK_MODULES of the callback worker, and restart that"
    return "\n".join([f"{unknown_words(name, known)} (on {', '.join(offers)}); {remedy}", *problems])


def _run(here: AppContext, row: Account, trigger: Trigger, timeout_s: float) -> Attempt:
    task_id = send([(row.id, row.generation)], CALLBACK, trigger, expires_s=timeout_s)
    try:
        for attempt in outcomes(here, {row.id: row.generation}, [task_id], timeout_s):
            return attempt
    except KeyboardInterrupt:
        err.plain(f"The run goes on without you: `refreshd history {row.id}` shows how it ends.")
        raise
    raise WaitTimedOut(_not_ended(here, row.id, task_id, timeout_s))


def _not_ended(here: AppContext, account_id: str, task_id: str, timeout_s: float) -> str:
    """Return whether a worker runs it still, or none took it."""
    latest = next(iter(here.history.of(account_id, limit=1)), None)
    if latest is not None and latest.task_id == task_id:
        return (
            f"it still runs on {latest.worker} after {timeout_s:g} s: `refreshd history {account_id}` will tell how it "
            "ended, and --timeout waits longer"
        )
    return (
        f"no callback worker took it within {timeout_s:g} s, and now none will: they may all be busy "
        "(`refreshd status` shows the queue), or refuse it (their log says `message_refused`: other REFRESHD_MESSAGE_KEYS)"
    )


def _show(name: str, row: Account, attempt: Attempt, known_to: list[str], *, applied: bool) -> None:
    printed, told = _parted(attempt.output or "")
    fields = {
        "callback": f"{name}, known to {', '.join(known_to)}; ran on {attempt.worker}",
        "account": f"{row.id}, generation {row.generation}",
        "inputs": (attempt.request or "").partition(": ")[2].replace("; ", "\n") or "none: it was not run",
        "printed": printed or "nothing",
        "outputs": "\n".join(told) or "none",
        "verdict": _verdict(attempt),
        "stored" if applied else "would store": _stored(row, attempt, applied=applied),
    }
    for field, words in fields.items():
        first, *rest = words.splitlines() or [""]
        out.print(Text.assemble((f"{field:<13}", "bold"), first), soft_wrap=True)
        for line in rest:
            out.print(Text(f"{'':<13}{line}"), soft_wrap=True)


def _verdict(attempt: Attempt) -> str:
    words = attempt.error_description or message_of(attempt.reason or "")
    if attempt.reason == STASH_ADOPTED:
        words = "what an earlier test had put aside was stored; the callback was not run again"
    reason = f" ({attempt.reason})" if attempt.reason else ""
    return f"{attempt.outcome}{reason}: {words}"


def _stored(row: Account, attempt: Attempt, *, applied: bool) -> str:
    rotated = _rotated(attempt)
    if attempt.outcome != Outcome.REFRESHED and rotated:
        words = "it is stored" if applied else "it is put aside, sealed, and the next refresh stores it"
        return f"the new refresh token alone: {words}, for the one before may be spent"
    if attempt.outcome != Outcome.REFRESHED:
        return "nothing: the account keeps what it has"
    when = attempt.next_refresh_at
    lines = [
        f"the access token, as generation {row.generation + 1}",
        "the new refresh token" if rotated else "no refresh token: the stored one stays",
        "no next refresh: none is planned" if when is None else f"the next refresh, due {ago_or_in(when)}",
    ]
    if not applied:
        lines.append("Nothing of this is stored; --apply stores it.")
        if rotated:
            lines.append(
                "The provider may have ended the old tokens with this run: the new ones are put aside, sealed, and the "
                "next refresh stores them. Nothing is lost, but where it ended the old access token connectors are "
                f"refused until then: `refreshd refresh {row.id} --force --wait` stores them now."
            )
    return "\n".join(lines)


def _rotated(attempt: Attempt) -> bool:
    return attempt.received_fp is not None and attempt.received_fp != attempt.refresh_fp


def _parted(output: str) -> tuple[str, list[str]]:
    """Part what the callback printed from what we said beside it."""
    lines = output.splitlines()
    ours = [line.removeprefix(OWN_LINE) for line in lines if line.startswith(OWN_LINE)]
    return "\n".join(line for line in lines if not line.startswith(OWN_LINE)), ours


def _as_json(name: str, attempt: Attempt, known_to: list[str], *, applied: bool) -> dict[str, Any]:
    printed, told = _parted(attempt.output or "")
    brought = attempt.outcome == Outcome.REFRESHED
    return {
        "callback": name,
        "account": attempt.account_id,
        "workers": known_to,
        "worker": attempt.worker,
        "inputs": (attempt.request or "").partition(": ")[2],
        "printed": printed,
        "outputs": told,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "detail": attempt.error_description,
        "generation": attempt.generation_after or attempt.generation,
        "refresh_token": "new" if _rotated(attempt) else "kept",
        "next_refresh_at": attempt.next_refresh_at,
        "latency_ms": attempt.latency_ms,
        "stored": applied and brought,
    }
