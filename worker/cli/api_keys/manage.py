"""`refreshd api-keys create|list|revoke`: who may ask the API what, of which accounts, and until when."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from models.label import label_of
from models.tables.api_key import ApiKey, ApiScope
from refreshd_reader.contract import ACCOUNT_ID
from worker.cli.terminal.console import ago_or_in, err, out, print_json
from worker.cli.terminal.context import open_stores
from worker.db.intake.api_keys import ApiKeys
from worker.durations import seconds_of
from worker.errors import InputError, UsageError


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom the audit trail names.")],
    scope: Annotated[list[ApiScope], typer.Option("--scope", help="What it is good for; may be repeated.")],
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME=VALUE",
            help="It sees and touches only accounts with this label; may be repeated.",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="It ends after 90d, 12h ...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The key is printed once and stored as a hash. Scope `admin` is good for all others, and for clients."""
    if not ACCOUNT_ID.fullmatch(name):
        raise InputError("NAME", "expected 1 to 128 letters, digits and ._:@-")
    labels = dict(_label(one) for one in label or ())
    expires_s = None if expires is None else seconds_of(expires, option="--expires")
    with open_stores() as here:
        key, made = ApiKeys(here.engine).create(
            name, scopes=list(scope), labels=labels, expires_s=expires_s, actor=here.actor
        )
    if as_json:
        print_json(key_json(key) | {"key": made.to_text()})
        return
    out.plain(made.to_text())
    err.plain(
        f"Send it as `Authorization: Bearer {made.to_text()[:6]}...`. It is not shown again; "
        f"`refreshd api-keys revoke {name}` ends it.",
        style="dim",
    )


def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    with open_stores() as here:
        keys, now = ApiKeys(here.engine).all(), here.clock.now()
    if as_json:
        for key in keys:
            print_json(key_json(key))
        return
    if not keys:
        err.plain("No keys yet:  refreshd api-keys create NAME --scope accounts:write")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "id", "scopes", "labels", "ends", "last used", "state"):
        table.add_column(heading, overflow="fold")
    for key in keys:
        state = "valid" if key.is_valid(now) else "revoked" if key.revoked_at is not None else "over"
        table.add_row(
            Text(key.name),
            key.id,
            " ".join(sorted(key.scope_set)),
            Text(" ".join(f"{name}={value}" for name, value in key.label_set.items())),
            ago_or_in(key.expires_at, now=now),
            ago_or_in(key.used_at, now=now),
            Text(state, style="green" if state == "valid" else "dim"),
        )
    out.print(table)


def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its name or id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """API processes refuse it within seconds. Its name stays taken: the audit trail has it."""
    with open_stores() as here:
        found = ApiKeys(here.engine).revoke(key, actor=here.actor)
    if found is None:
        raise UsageError(f"no API key has the name or id {key!r}; `refreshd api-keys list` shows them")
    outcome = "revoked" if found.revoked_at is None else "revoked_before"
    if as_json:
        print_json({"name": found.name, "id": found.id, "outcome": outcome})
        return
    out.plain(f"{found.name}: {outcome.replace('_', ' ')}")


def key_json(key: ApiKey) -> dict[str, Any]:
    """Return a key as scripts read it."""
    return key.model_dump(exclude={"secret_hash"}) | {
        "scopes": sorted(key.scope_set),
        "labels": key.label_set,
    }


def _label(word: str) -> tuple[str, str]:
    try:
        return label_of(word)
    except ValueError as error:
        raise InputError("--label", str(error)) from None
