"""`refreshd accounts import` and `export`: accounts from files and back into them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Final, Literal, TextIO

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.tables.audit import Act, Action
from worker.accounts.clients.shared import SharedClients
from worker.accounts.formats.export import export
from worker.accounts.formats.nango import NangoRows
from worker.accounts.formats.source import STDIN, WRITTEN, Format, Source, format_of, open_source
from worker.accounts.importer import Summary
from worker.accounts.token_precedence import ImportOutcome
from worker.accounts.view import row
from worker.cli.accounts._services import AccountServices, AllowSharedGrant, open_services
from worker.cli.terminal.console import accounts_words, err, out, print_json
from worker.cli.terminal.context import open_stores
from worker.cli.terminal.files import require_no_device
from worker.cli.terminal.labels import Labels, labels_of
from worker.cli.terminal.signals import INTERRUPTED, Interrupts
from worker.db.accounts.filter import Filter
from worker.db.accounts.stored import Accounts
from worker.errors import DatabaseUnreachable, UsageError

#: More bad rows than a person reads; scripts get them all.
_ERRORS_SHOWN: Final = 200


def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="JSON Lines, YAML, CSV or properties; - reads JSON Lines from stdin."
        ),
    ],
    file_format: Annotated[
        Format | None, typer.Option("--format", help="Where the file's name does not tell.")
    ] = None,
    replace_tokens: Annotated[
        bool,
        typer.Option(
            "--replace-tokens",
            help="Take the file's tokens even where the stored ones are newer. A stale refresh token ends the grant.",
        ),
    ] = False,
    clients: Annotated[
        bool,
        typer.Option(
            "--clients",
            help="Store the clients that rows share as clients (`refreshd clients`), and have those rows name them.",
        ),
    ] = False,
    allow_shared_grant: AllowSharedGrant = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """A row is stored as a whole or not at all. Each bad row is listed with its line and the reason.

    A stored token that is newer than the file's is kept. A refresh token that another account of the same client has is an error of its row.

    webMethods' column names and Nango's connections are accepted; fields without a counterpart are listed (docs/migrating.md).

    Exit codes: 0 all rows are stored, 1 some are not, 2 the file can't be read, 130 stopped by Ctrl-C.
    """
    with open_source(file, file_format) as source, open_services(shared_grants=allow_shared_grant) as desk:
        importer = desk.importer(source.name, replace_tokens=replace_tokens)
        shared = _shared_clients(desk, source) if clients else None
        # A signal inside a driver may be taken for a broken connection: ours is asked for between two commits.
        with _bar(source) as bar, Interrupts() as interrupts:
            interrupts.hurry = _end_now
            try:
                rows = NangoRows(desk.stores.providers.known).translate(source.rows())
                rows = rows if shared is None else shared.translate(rows)
                importer.run(rows, progress=bar, stop=lambda: interrupts.asked is not None)
            except DatabaseUnreachable:
                _say_how_far(importer.summary)
                raise
    named = None if shared is None else dict(sorted(shared.named.items()))
    _report(importer.summary, source.name, named, as_json=as_json)
    if interrupts.asked is not None:
        _say_how_far(importer.summary)
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(1 if importer.summary.counts[ImportOutcome.FAILED] else 0)


def export_file(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to; standard output where left out.")
    ] = None,
    file_format: Annotated[
        Literal[Format.JSONL, Format.YAML, Format.CSV] | None,
        typer.Option("--format", help="Where the file's name does not tell. Default: jsonl."),
    ] = None,
    with_secrets: Annotated[
        bool,
        typer.Option("--with-secrets", help="Include client secrets, tokens and custom fields, in clear."),
    ] = False,
    label: Labels = None,
) -> None:
    """The file is readable by its owner alone, and replaced only when it is complete.

    It is not a backup: it holds no history, no generations and no further values that providers returned with tokens.
    """
    to_stdout = file is None or file == STDIN
    wanted = file_format or (
        Format.JSONL if file is None or to_stdout else format_of(file, None, usable=WRITTEN)
    )
    with (
        open_stores() as here,
        nullcontext(sys.stdout) if file is None or to_stdout else _private_file(file) as stream,
    ):
        accounts, sealer = Accounts(here.engine), here.sealer if with_secrets else None
        wanted_accounts = Filter(labels=labels_of(label))
        # Written first: what can't be written down is not given out.
        target_name = "standard output" if to_stdout else str(file)
        detail = {"file": target_name, "with_secrets": with_secrets, **({"labels": label} if label else {})}
        here.audit.record(here.actor, Act(Action.EXPORT, detail=detail))
        count = export(
            lambda: (row(account, sealer) for account in accounts.all(wanted_accounts)), wanted, stream
        )
    secrets = "with their secrets: keep the file safe" if with_secrets else "without their secrets"
    target = "" if to_stdout else f" to {file}"
    err.plain(f"exported {accounts_words(count)}{target}, {secrets}", style="dim")


@contextmanager
def _private_file(path: Path) -> Iterator[TextIO]:
    """Write a file of mode 0600 that appears when it is complete."""
    require_no_device(path)
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp: mode 0600
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream
        Path(draft).replace(path)
    except OSError as error:
        with suppress(FileNotFoundError):
            Path(draft).unlink()
        raise UsageError(f"{path}: can't be written: {error.strerror or error}") from error
    except BaseException:
        with suppress(FileNotFoundError):
            Path(draft).unlink()
        raise


class _Bar:
    """A progress bar on a terminal's stderr; nothing elsewhere."""

    def __init__(self, progress: Progress, source: Source) -> None:
        self._progress = progress
        self._source = source
        self._task = progress.add_task("importing", total=source.size, rows="")

    def __call__(self, summary: Summary) -> None:
        rows = sum(summary.counts.values())
        failed = summary.counts[ImportOutcome.FAILED]
        self._progress.update(
            self._task,
            completed=self._source.position(),
            rows=f"{rows:,} rows" + (f", {failed:,} failed" if failed else ""),
        )


@contextmanager
def _bar(source: Source) -> Iterator[_Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        yield _Bar(progress, source)


def _shared_clients(desk: AccountServices, source: Source) -> SharedClients:
    """Store the clients that the file's rows share."""
    shared = SharedClients(desk.stores.clients, desk.client_editor)
    shared.learn(NangoRows(desk.stores.providers.known).translate(source.rows()))
    source.rewind()
    return shared


def _report(summary: Summary, name: str, named: Mapping[str, int] | None, *, as_json: bool) -> None:
    counts = summary.counts
    if as_json:
        print_json(summary.to_json() | ({} if named is None else {"clients": named}))
    else:
        words = ", ".join(f"{counts[one]:,} {one.value.replace('_', ' ')}" for one in ImportOutcome)
        out.plain(f"{name}: {words}")
        for error in summary.errors[:_ERRORS_SHOWN]:
            where = f"line {error.line}" + (f", account {error.account}" if error.account else "")
            err.plain(f"error: {where}: {error.problem}")
        if len(summary.errors) > _ERRORS_SHOWN:
            _note(f"... and {len(summary.errors) - _ERRORS_SHOWN:,} more errors: --json names them all")
    if named and not as_json:
        words = ", ".join(f"{client} ({rows:,})" for client, rows in named.items())
        _note(
            f"clients that rows share: {words}. A new secret of one is one edit: `refreshd clients edit NAME`"
        )
    if summary.left_out and not as_json:
        names = Counter(one.name for one in summary.left_out)
        said = ", ".join(f"{name} ({number:,})" for name, number in names.most_common())
        _note(f"left out, because nothing here corresponds: {said}. --json names each")
    kept = counts[ImportOutcome.KEPT_NEWER] + summary.changed_but_kept
    if kept:
        _note(
            f"{kept:,} accounts keep the tokens that are stored: they are newer than the file's, or not known to "
            "be older. If an owner consented again, `refreshd accounts grant ID` takes the new tokens for one account; "
            "--replace-tokens takes the file's for all of its accounts"
        )
    if not sum(counts.values()):
        _note("the file names no accounts: docs/accounts.md and examples/ show what one looks like")


def _end_now() -> None:
    raise KeyboardInterrupt


def _say_how_far(summary: Summary) -> None:
    stored = summary.counts[ImportOutcome.ADDED] + summary.counts[ImportOutcome.CHANGED]
    _note(
        f"stopped behind line {summary.line:,}: {stored:,} accounts are stored; run the same import again to go on"
    )


def _note(text: str) -> None:
    err.plain(text)
