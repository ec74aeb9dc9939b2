"""Keys: of this process, and of the worker that tried last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker.crypto.cipher import key_of
from worker.crypto.sealer import SEALED_COLUMNS
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.provider import NOT_OPENED, last_call
from worker.durations import duration
from worker.policy.reasons.correction import KEY_MISSING

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account
    from models.tables.attempt import Attempt
    from models.tables.client import Client


def lacked_a_key(last: Attempt | None) -> bool:
    """Return whether the last attempt found a secret sealed with a key that its worker did not have."""
    return last is not None and last.reason == KEY_MISSING


def keys_of(account: Account, client: Client | None) -> frozenset[str]:
    """Return the ids of the keys that sealed an account's secrets, and its client's."""
    sealed = [getattr(account, column) for column in SEALED_COLUMNS]
    sealed.append(client.client_secret_sealed if client is not None else None)
    return frozenset(key for value in sealed if value is not None and (key := key_of(value)) is not None)


def keys(facts: Facts) -> Iterator[Finding]:
    """Say where a secret of the account does not open."""
    if facts.sealed_error:
        yield Finding(
            "key_missing",
            f"A secret of this account does not open: {facts.sealed_error}.",
            "Put the key that sealed it back into REFRESHD_KEYS of every worker; `refreshd keys check` names all rows.",
        )
        return
    last = last_call(facts.attempts)
    if last is not None and last.reason in NOT_OPENED:
        yield _on_a_worker(facts, last)


def _on_a_worker(facts: Facts, last: Attempt) -> Finding:
    """Return what is known now of the worker that could not open a secret, or else what was seen, and when."""
    then = last.opened_at if last.closed_at is None else last.closed_at
    seen = (
        f"at its last try, {duration(max(facts.now - then, 0.0))} ago, they did not on the worker {last.worker or 'that tried'}: "
        f"{last.error_description or last.reason}"
    )
    forced = f"`refreshd refresh {facts.account.id} --force --wait`"
    given = "Give every worker the same REFRESHD_KEYS and restart them: one that starts with the key makes the account due."
    asked = facts.worker_keys or {}
    lacking = [name for name, ids in asked.items() if ids is not None and not facts.sealed_with <= ids]
    if lacking:
        missing = sorted(
            {key for name in lacking for key in facts.sealed_with - (asked[name] or frozenset())}
        )
        message = f"Its secrets open here, but not on {', '.join(lacking)}: no key {', '.join(map(repr, missing))} there now"
        return Finding("key_missing_on_a_worker", f"{message}; {seen}.", given)
    if lacked_a_key(last) and asked and None not in asked.values():
        return Finding(
            "key_missing_on_a_worker",
            f"Its secrets open here, and every worker that answers has their keys now; {seen}.",
            f"Nothing: it is tried again when it is due; {forced} does it now.",
        )
    return Finding("key_missing_on_a_worker", f"Its secrets open here; {seen}.", f"{given} Now: {forced}.")
