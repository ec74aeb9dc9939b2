"""Import: rows in, accounts stored in batches, a summary out. A batch is one commit; each row is all or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field
from sqlalchemy import Connection

from models.account_state import fingerprint
from models.event import Event, EventType
from models.publication import publication
from worker.accounts.apply import Applied, Applier, Intent
from worker.accounts.authority import EVERY_ACCOUNT, sees
from worker.accounts.entry import ROW, AccountEntry, Problem, RowRefused, id_of, read_entry
from worker.accounts.formats.row import Raw
from worker.accounts.publisher import CommandPublisher
from worker.accounts.token_precedence import ImportOutcome, StoredTokens
from worker.accounts.twins import SameGrant, TwinGuard
from worker.accounts.values import printable
from worker.clock import Clock
from worker.db.accounts.stored import Accounts, Change, Note
from worker.db.records.acts import RunningEntry
from worker.errors import RefreshdError, ValueRefused
from worker.log import log
from worker.policy.reasons.done import CREDENTIALS_REPLACED

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: Rows in one commit: large enough to cost little, small enough that no worker waits for it long.
BATCH: Final = 1_000
#: How often a row is tried again that somebody else changed in between.
_TRIES: Final = 5

_WRITTEN: Final = frozenset({ImportOutcome.ADDED, ImportOutcome.CHANGED})


class RowError(Struct, frozen=True):
    """Why a row, or one field of it, was not stored."""

    line: int
    account: str | None
    problem: Problem

    def to_json(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "account": self.account,
            "field": self.problem.field,
            "reason": self.problem.words,
        }


class LeftOut(Struct, frozen=True):
    """What a row of another program says and what has no place here."""

    line: int
    account: str | None
    name: str

    def to_json(self) -> dict[str, Any]:
        return {"line": self.line, "account": self.account, "field": self.name}


class RowResult(Struct, frozen=True):
    """What became of a row that was stored, or was as it is stored already."""

    account: str
    outcome: ImportOutcome
    generation: int
    #: Names of the fields that changed of an account that was there.
    changed: tuple[str, ...] = ()


class Summary(Struct):
    """What an import did."""

    counts: Counter[ImportOutcome] = field(default_factory=Counter)
    errors: list[RowError] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    #: Accounts whose stored tokens stayed although other fields of theirs changed.
    changed_but_kept: int = 0
    #: The last line that was read.
    line: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the summary as DESIGN section 4 has it, and what was left out where something was."""
        summary: dict[str, Any] = {
            **{one.value: self.counts[one] for one in ImportOutcome},
            "errors": [error.to_json() for error in self.errors],
        }
        return summary | {"left_out": [one.to_json() for one in self.left_out]} if self.left_out else summary


class Importer:
    """Imports one file."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        applier: Applier,
        publisher: CommandPublisher,
        clock: Clock,
        intent: Intent,
        entry: RunningEntry,
        twins: SameGrant | None,
        require_labels: Mapping[str, str] = EVERY_ACCOUNT,
        keep_results: bool = False,
    ) -> None:
        """Make an importer of one file.

        Args:
            accounts: their table.
            applier: applies rows.
            publisher: publishes what is stored.
            clock: the database's.
            intent: whose word the file is.
            entry: the entry of the audit trail.
            twins: compares grants, so that no two accounts share one; None: they may.
            require_labels: accounts without them can't be touched, and new ones get them.
            keep_results: have `results` tell of each row.
        """
        self._required = require_labels
        self._keeps_results = keep_results
        #: By line.
        self.results: dict[int, RowResult] = {}
        self._twins = twins
        self._accounts = accounts
        self._entry = entry
        self._applier = applier
        self._publisher = publisher
        self._clock = clock
        self._intent = intent
        #: Where each account of the file stands. A line may hold many: a JSON array often has no line breaks.
        self._lines: dict[str, int] = {}
        self.summary = Summary()

    def run(
        self,
        rows: Iterable[Raw],
        *,
        progress: Callable[[Summary], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Summary:
        """Import rows to their end, or until `stop` says so after a commit; `progress` is told of each.

        Raises:
            DatabaseUnreachable: it went away; what `summary` counts is stored.
        """
        remaining = iter(rows)
        while not stop() and (batch := list(islice(remaining, BATCH))):
            entries = dict(self._entries(batch))
            for _ in range(_TRIES):
                entries = self._store(entries)
                if not entries:
                    break
            for account in entries:
                self._fail(self._lines[account], account, [_MOVED])
            self.summary.errors.sort(key=lambda error: error.line)
            self.summary.line = batch[-1].line
            progress(self.summary)
        self._entry.finish(_named(self.summary.counts))
        return self.summary

    def _entries(self, batch: list[Raw]) -> Iterator[tuple[str, AccountEntry]]:
        for raw in batch:
            if raw.row is None:
                self._fail(raw.line, None, [Problem(ROW, raw.reason)])
                continue
            account = id_of(raw.row)
            self.summary.left_out += [LeftOut(raw.line, account, printable(one)) for one in raw.left_out]
            if account in self._lines:
                reason = f"line {self._lines[account]} has this id already"
                self._fail(raw.line, account, [Problem("id", reason)])
                continue
            if account is not None:
                self._lines[account] = raw.line
            try:
                entry = read_entry(raw.row, cells=raw.cells)
            except Exception as error:  # noqa: BLE001  (the rows beside it are stored)
                self._fail(raw.line, account, _problems(error))
            else:
                yield entry.id, entry

    def _store(self, entries: dict[str, AccountEntry]) -> dict[str, AccountEntry]:
        """Store what entries say; returns those whose accounts somebody else changed in between."""
        applied = self._apply(entries)
        now = self._clock.now()
        moved = self._save(list(applied.values()), now)
        self._accounts.note_source([change_of(one, now=now) for one in applied.values() if one.source_only])
        return {account: entries[account] for account in moved}

    def _save(self, applied: list[Applied], now: float) -> list[str]:
        """Store accounts in one commit, or each half of them in its own where the database refuses a value.

        So one row is refused alone, and costs the rows beside it a few commits. Returns the ids of accounts that somebody
        else changed in between.
        """
        adding = [one.account for one in applied if one.outcome is ImportOutcome.ADDED]
        changing = [change_of(one, now=now) for one in applied if one.outcome is ImportOutcome.CHANGED]
        outcomes = {one.account.id: one.outcome for one in applied}
        guard = self._guard(applied)
        try:
            stored = (
                self._accounts.save(adding, changing, self._noted(outcomes), guard)
                if adding or changing
                else set()
            )
        except ValueRefused as refused:
            if len(applied) == 1:
                account = applied[0].account.id
                self._fail(self._lines[account], account, [Problem(ROW, str(refused))])
                return []
            half = len(applied) // 2
            return self._save(applied[:half], now) + self._save(applied[half:], now)
        problems = guard.problems if guard is not None else {}
        for account, problem in problems.items():
            self._fail(self._lines[account], account, [problem])
        kept = [one for one in applied if one.account.id not in problems]
        written = [one for one in kept if one.outcome in _WRITTEN]
        self._done([one for one in kept if one.outcome not in _WRITTEN or one.account.id in stored])
        return [one.account.id for one in written if one.account.id not in stored]

    def _done(self, applied: list[Applied]) -> None:
        """Count and publish what is stored."""
        for one in applied:
            account = one.account
            self.summary.counts[one.outcome] += 1
            if self._keeps_results:
                result = RowResult(account.id, one.outcome, account.generation, one.changed)
                self.results[self._lines[account.id]] = result
            if one.outcome in _WRITTEN:
                self.summary.changed_but_kept += one.decision.tokens is StoredTokens.KEEP
        self._publish([one for one in applied if one.outcome in _WRITTEN and not one.labels_only])

    def _guard(self, applied: list[Applied]) -> TwinGuard | None:
        if self._twins is None:
            return None
        written = [one for one in applied if one.outcome in _WRITTEN]
        return TwinGuard(self._twins, written, sees=lambda _, other: sees(self._required, other))

    def _noted(self, outcomes: dict[str, ImportOutcome]) -> Note:
        """Have the audit trail count, in the commit that stores them, what this import has stored so far."""

        def note(connection: Connection, stored: set[str]) -> None:
            counts = self.summary.counts + Counter(outcomes[account] for account in stored)
            self._entry.write(connection, _named(counts))

        return note

    def _apply(self, entries: dict[str, AccountEntry]) -> dict[str, Applied]:
        ids = list(entries)
        found, retired = self._accounts.find_or_retired(ids)
        held = self._accounts.once_held(list(_differing(entries.values(), found)))
        self._applier.know_clients(entries.values(), found.values())
        now = self._clock.now()
        applied: dict[str, Applied] = {}
        for account_id, entry in entries.items():
            account = found.get(account_id)
            if account is not None and not sees(self._required, account):
                self._fail(self._lines[account_id], account_id, [NOT_YOURS])
                continue
            if self._required:
                entry.labels |= self._required
            try:
                if account is None:
                    applied[account_id] = self._applier.add(
                        entry, retired=retired.get(account_id, 0), now=now
                    )
                else:
                    applied[account_id] = self._applier.change(
                        entry, account, once_held=account_id in held, intent=self._intent, now=now
                    )
            except Exception as error:  # noqa: BLE001  (the rows beside it are stored)
                self._fail(self._lines[account_id], account_id, _problems(error))
        return applied

    def _publish(self, done: list[Applied]) -> None:
        now = self._clock.now()
        self._publisher.put(
            [publication(one.account, one.access_token, now=now) for one in done],
            [recovered_event(one, now=now) for one in done if one.recovered],
        )

    def _fail(self, line: int, account: str | None, problems: list[Problem]) -> None:
        self.summary.counts[ImportOutcome.FAILED] += 1
        shown = printable(account) if account else None
        self.summary.errors.extend(
            RowError(line, shown, Problem(printable(one.field), printable(one.reason), one.option))
            for one in problems
        )


#: Of an id that somebody else's account has: more would say that there is one.
NOT_YOURS: Final = Problem("id", "can't be used with this key")
_MOVED: Final = Problem(ROW, "the account changed again and again meanwhile; import it once more")


def _problems(error: Exception) -> list[Problem]:
    """Return why a row is not stored.

    Raises:
        RefreshdError: no row could be.
    """
    if isinstance(error, RowRefused):
        return error.problems
    if isinstance(error, RefreshdError):
        raise error
    log.error("row_not_read", exc_info=error)
    return [Problem(ROW, f"can't be read or checked ({type(error).__name__}); the worker's log says more")]


def _named(counts: Counter[ImportOutcome]) -> dict[str, int]:
    return {one.value: counts[one] for one in ImportOutcome if counts[one]}


def recovered_event(applied: Applied, *, now: float) -> Event:
    """Return the event that an account which had no usable token has one again."""
    account = applied.account
    return Event(
        type=EventType.RECOVERED.value,
        reason=CREDENTIALS_REPLACED,
        at=now,
        account=account.id,
        generation=account.generation,
        labels=account.labels,
    )


def change_of(applied: Applied, *, now: float) -> Change:
    """Return what to store of an account that was there, and what to tell of it."""
    generation, config_version = applied.seen or (0, 0)
    event = recovered_event(applied, now=now) if applied.recovered else None
    return Change(applied.account, generation, config_version, event, applied.labels_only)


def _differing(entries: Iterable[AccountEntry], found: dict[str, Account]) -> Iterator[tuple[str, str]]:
    """Return the refresh tokens that are neither stored nor of the last import: (id, fingerprint)."""
    for entry in entries:
        account, fp = found.get(entry.id), fingerprint(entry.refresh_token)
        if account is not None and fp is not None and fp not in {account.refresh_fp, account.source_fp}:
            yield entry.id, fp
