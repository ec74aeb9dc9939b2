"""The ops on many accounts and on clients: a chunk of rows, a client's configuration."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from worker.accounts.clients.editor import UnknownClient
from worker.accounts.clients.entry import NAME, read_client
from worker.accounts.formats.row import Raw
from worker.accounts.importer import Importer
from worker.intake.account_ops import Payload
from worker.intake.carry_out import Desk, NotFound, handles, payload_of
from worker.intake.requests import Code, IntakeRequest, Op, Reply


class ImportPayload(Payload):
    """Rows of an accounts file, one behind the other; the first one's line, and the file's name for the audit trail."""

    rows: list[dict[str, Any]] = Field(max_length=1_000, repr=False)
    first_line: int = Field(default=1, ge=1)
    name: str = Field(default="batch", max_length=200)
    replace_tokens: bool = False


class ClientPayload(Payload):
    """A client's name and its fields; None takes a value back."""

    name: str
    fields: dict[str, Any] = Field(default_factory=dict, repr=False)


class RemoveClientPayload(Payload):
    """A client's name; `force`: removed though accounts name it."""

    name: str
    force: bool = False


@handles(Op.IMPORT_ACCOUNTS)
def import_accounts(desk: Desk, request: IntakeRequest) -> Reply:
    """Import a chunk of rows; the result has one entry for each, in their order."""
    payload = payload_of(request, ImportPayload)
    importer = desk.services.importer(payload.name, replace_tokens=payload.replace_tokens, keep_results=True)
    importer.run(Raw(line, row) for line, row in enumerate(payload.rows, start=payload.first_line))
    lines = range(payload.first_line, payload.first_line + len(payload.rows))
    return Reply(code=Code.DONE, result={"rows": _rows(importer, lines)})


def _rows(importer: Importer, lines: range) -> list[dict[str, Any]]:
    failed: dict[int, list[dict[str, str]]] = {}
    accounts: dict[int, str | None] = {}
    for error in importer.summary.errors:
        found_error = {"field": error.problem.field, "reason": error.problem.reason}
        if error.problem.code is not None:
            found_error["code"] = error.problem.code
        failed.setdefault(error.line, []).append(found_error)
        accounts[error.line] = error.account
    found: list[dict[str, Any]] = []
    for line in lines:
        stored = importer.results.get(line)
        if line in failed or stored is None:
            found.append(
                {
                    "line": line,
                    "account": accounts.get(line),
                    "outcome": "failed",
                    "errors": failed.get(line, []),
                }
            )
        else:
            found.append(
                {
                    "line": line,
                    "account": stored.account,
                    "outcome": stored.outcome.value,
                    "generation": stored.generation,
                    **({"changed": list(stored.changed)} if stored.changed else {}),
                }
            )
    return found


@handles(Op.PUT_CLIENT)
def put_client(desk: Desk, request: IntakeRequest) -> Reply:
    """Create a client, or change it; its accounts take the change over."""
    payload = payload_of(request, ClientPayload)
    _for_all(request, payload.name)
    applied = desk.services.client_editor.put(read_client({**payload.fields, NAME: payload.name}))
    return Reply(
        code=Code.DONE,
        result={
            "client": applied.client.name,
            "outcome": applied.outcome.value,
            "changed": list(applied.changed),
            "accounts": applied.taken_over.accounts,
        },
    )


@handles(Op.REMOVE_CLIENT)
def remove_client(desk: Desk, request: IntakeRequest) -> Reply:
    """Remove a client that no account names."""
    payload = payload_of(request, RemoveClientPayload)
    _for_all(request, payload.name)
    try:
        used = desk.services.client_editor.remove(payload.name, even_if_used=payload.force)
    except UnknownClient as error:
        raise NotFound(str(error)) from None
    return Reply(code=Code.DONE, result={"client": payload.name, "removed": True, "accounts": used})


def _for_all(request: IntakeRequest, name: str) -> None:
    """Raise NotFound for an asker that sees only some accounts: a client is shared by those of others."""
    if request.require_labels:
        raise NotFound(f"no client {name!r}")
