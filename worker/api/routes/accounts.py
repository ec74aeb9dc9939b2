"""Accounts: read, listed, created, changed, removed, explained."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from models.tables.account import Account, Status
from worker.api.auth import Caller, Here, Reads, Writes
from worker.api.bodies import json_object
from worker.api.context import ApiContext
from worker.api.document.openapi import body_of, describes
from worker.api.explained import with_calls
from worker.api.params import NAME_PATTERN, AccountId, labels_of, read_cursor, write_cursor
from worker.api.problems import FieldError, invalid
from worker.api.replies import ask
from worker.api.views import account_brief, account_full
from worker.db.accounts.filter import Filter
from worker.db.accounts.stored import Accounts
from worker.db.records.history import entry_json, of_this_account
from worker.intake.requests import Op

router = APIRouter(tags=["accounts"])

#: What a page holds at most.
_PAGE_MAX = 1000


async def find(here: ApiContext, caller: Caller, account_id: str) -> Account:
    """Return an account that the caller sees.

    Raises:
        Problem: there is none.
    """
    found = await here.read(lambda: Accounts(here.engine).find([account_id]))
    return caller.seen(found.get(account_id))


@router.get("/v1/accounts", **describes("list_accounts", "List accounts", "AccountList", query_labels=True))
async def list_accounts(
    request: Request,
    here: Here,
    caller: Reads,
    status: Annotated[Status | None, Query(description="Only accounts in this status.")] = None,
    provider: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Only this provider's accounts.")
    ] = None,
    client: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Only this client's accounts.")
    ] = None,
    changed_since: Annotated[
        float | None,
        Query(
            ge=0,
            le=1e11,
            description="Only accounts whose status changed then or since (`status_at`), epoch seconds.",
        ),
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=256, description="`next_cursor` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=_PAGE_MAX, description="Accounts of a page.")] = 100,
) -> dict[str, Any]:
    """Accounts in the order of their ids, page by page: those that have all labels that are asked for, and all of the key's.

    `label.NAME=VALUE` (repeatable) asks for a label. `next_cursor` is null on the last page.
    """
    asked = labels_of(request)
    after = "" if cursor is None else read_cursor(cursor)
    if any(asked.get(name, value) != value for name, value in caller.labels.items()):
        return {"accounts": [], "next_cursor": None}
    wanted = Filter(
        status=None if status is None else status.value,
        provider=provider,
        client=client,
        labels={**asked, **caller.labels},
        changed_since=changed_since,
    )
    page = await here.read(lambda: Accounts(here.engine).page(wanted, after, limit + 1))
    more = len(page) > limit
    return {
        "accounts": [account_brief(one) for one in page[:limit]],
        "next_cursor": write_cursor(page[limit - 1].id) if more else None,
    }


@router.get("/v1/accounts/{id}", **describes("get_account", "Get an account", "Account", 404))
async def get_account(account_id: AccountId, here: Here, caller: Reads) -> dict[str, Any]:
    """Status, reason, generation, times, labels and settings. Secrets are never shown; `has` names those that are stored."""
    return account_full(await find(here, caller, account_id))


@router.put(
    "/v1/accounts/{id}",
    **describes(
        "put_account", "Create or configure an account", "Applied", *(404, 409, 413, 415, 504), created=True
    ),
    openapi_extra=body_of("AccountFields"),
)
async def put_account(request: Request, account_id: AccountId, here: Here, caller: Writes) -> Response:
    """Fields of an accounts file (docs/accounts.md); fields that are left out keep their values, null takes one back.

    `outcome` is `added` (201), `changed`, `unchanged` or `kept_newer`: a token that is older than the stored one was left
    out (`PUT .../grant` always replaces it).
    """
    fields = _of(account_id, await json_object(request))
    result = await ask(here, caller, Op.PUT_ACCOUNT, {"account": account_id, "fields": fields})
    return JSONResponse(result, 201 if result.get("outcome") == "added" else 200)


@router.patch(
    "/v1/accounts/{id}",
    **describes("patch_account", "Change an account", "Applied", *(404, 409, 413, 415, 504)),
    openapi_extra=body_of("AccountFields"),
)
async def patch_account(
    request: Request, account_id: AccountId, here: Here, caller: Writes
) -> dict[str, Any]:
    """As `PUT`, of an account that exists: 404 where it does not."""
    fields = _of(account_id, await json_object(request))
    return await ask(here, caller, Op.PATCH_ACCOUNT, {"account": account_id, "fields": fields})


@router.delete(
    "/v1/accounts/{id}", **describes("remove_account", "Remove an account", "Removed", *(404, 409, 504))
)
async def remove_account(
    account_id: AccountId,
    here: Here,
    caller: Writes,
    revoke: Annotated[bool, Query(description="End the grant at the provider first.")] = False,
) -> dict[str, Any]:
    """The account, its tokens and its keys in Redis. Its history stays; an account of the same id continues its generation.

    With `revoke` the grant is ended at the provider first. Where that fails, nothing is removed: 409 where the provider refuses, or
    can't end grants (`revocation` says which); 503 with `Retry-After` where it could not be asked.
    """
    payload = {"account": account_id, "revoke": revoke}
    return await ask(here, caller, Op.REMOVE_ACCOUNT, payload, calls_provider=revoke)


@router.get(
    "/v1/accounts/{id}/history", **describes("get_history", "Get an account's history", "History", 404)
)
async def get_history(
    account_id: AccountId,
    here: Here,
    caller: Reads,
    limit: Annotated[int, Query(ge=1, le=10_000, description="The latest so many entries.")] = 20,
) -> dict[str, Any]:
    """Attempts and what people did, oldest first, as `refreshd history --json` has them.

    A key with labels gets nothing of an account that had the same id before and was removed.
    """
    account = await find(here, caller, account_id)
    trail = await here.read(lambda: here.history.trail(here.audit, account.id, account.provider, limit=limit))
    if caller.labels:
        trail = of_this_account(trail, account)
    return {"account": account.id, "entries": [entry_json(one) for one in trail]}


@router.get(
    "/v1/accounts/{id}/explain", **describes("explain_account", "Explain an account", "Explanation", 404)
)
async def explain_account(account_id: AccountId, here: Here, caller: Reads) -> dict[str, Any]:
    """Is its token good, when is it refreshed and why then, what is wrong and what to do: `refreshd explain --json`.

    What only a process with keys or with access to workers sees is left out. To a key with labels, no account is named that
    it does not see.
    """
    await find(here, caller, account_id)
    return await here.read(_explained, here, caller, account_id)


def _explained(here: ApiContext, caller: Caller, account_id: str) -> dict[str, Any]:
    from worker.diagnostics.explain.gather import gather  # late: it brings Celery
    from worker.diagnostics.explain.rules import diagnose
    from worker.diagnostics.explain.words import as_object

    facts = gather(
        here,
        account_id,
        workers=lambda: None,
        worker_keys=lambda: None,
        reads_tokens=False,
        sees=(lambda other: caller.sees(other.label_set)) if caller.labels else None,
    )
    return with_calls(as_object(facts, diagnose(facts)))


def _of(account_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body, without the id that the path has.

    Raises:
        Problem: it names another one.
    """
    named = fields.pop("id", account_id)
    if named != account_id:
        raise invalid(FieldError("id", "is not the id of the URL; leave it out"))
    return fields
