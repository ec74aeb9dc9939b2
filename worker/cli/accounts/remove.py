"""`refreshd accounts remove`: the end of an account, here and (`--revoke`) at its provider."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from models.tables.audit import Act, Action
from worker.accounts.grants.revoker import Revoked
from worker.cli.accounts._services import AccountServices, open_services
from worker.cli.accounts.edit import AsJson, Ids
from worker.cli.terminal.console import err, out, print_json
from worker.cli.terminal.prompts import confirm
from worker.providers.revocation import Revocation

#: There is nothing left at the provider, or never was.
_DONE: Final = frozenset({Revocation.REVOKED, Revocation.NO_TOKEN})


def remove(
    ids: Ids,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="End the grant at the provider first (RFC 7009).")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="With --revoke: remove also where the provider can't or does not revoke."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Without --revoke the grant at the provider stays valid. With it, the refresh token is revoked first.

    An account whose grant could not be revoked is kept (exit code 1), unless --force is given. One that is being refreshed is always kept.

    The history of an account is kept until it is pruned, and an id that is added again continues its generation.
    """
    if force and not revoke:
        raise typer.BadParameter("--force goes with --revoke")
    ids = list(dict.fromkeys(ids))
    with open_services() as desk:
        desk.editor.to_remove(ids)
        if not yes and sys.stdin.isatty():
            what = ids[0] if len(ids) == 1 else f"{len(ids)} accounts"
            also = ", and their grants are revoked" if revoke else ""
            confirm(f"Remove {what}? The stored tokens can't be brought back{also}")
        if revoke:
            desk.publisher.require()
            if not _revoke_and_remove(desk, ids, force=force, as_json=as_json):
                raise typer.Exit(1)
            return
        desk.editor.remove(ids)
    if as_json:
        for account_id in ids:
            print_json({"account": account_id, "removed": True, "revocation": None, "reason": ""})
        return
    out.plain(f"removed {', '.join(ids)}")


def _revoke_and_remove(desk: AccountServices, ids: list[str], *, force: bool, as_json: bool) -> bool:
    """Revoke and remove one account after the other; returns whether each grant has ended."""
    all_ended = True
    with desk.revoker() as revoker:
        for account_id in ids:
            revoked = revoker.revoke(desk.editor.account(account_id))
            ended = revoked.outcome in _DONE
            removes = ended or (force and revoked.outcome is not Revocation.BUSY)
            if removes:
                desk.editor.remove([account_id], revoked=revoked)
            else:
                if revoked.outcome is Revocation.FAILED:  # it was asked, perhaps, and may have done it
                    desk.stores.audit.record(
                        desk.stores.actor, Act(Action.REVOKE, account_id, detail=revoked.as_detail())
                    )
                revoker.give_back(account_id)
            all_ended = all_ended and ended
            _say(revoked, removed=removes, as_json=as_json)
    if "redis" in vars(desk.stores):  # asking for it would open it
        desk.stores.redis.close()
    return all_ended


def _say(revoked: Revoked, *, removed: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "account": revoked.account,
                "removed": removed,
                "revocation": revoked.outcome.value,
                "reason": revoked.reason,
            }
        )
        return
    words = f"{revoked.account}: {revoked.outcome.value.replace('_', ' ')}, {'removed' if removed else 'not removed'}"
    if not revoked.reason:
        out.plain(words)
        return
    remedy = "" if removed or revoked.outcome is Revocation.BUSY else "; --force removes it all the same"
    err.plain(f"{words} ({revoked.reason}{remedy})")
