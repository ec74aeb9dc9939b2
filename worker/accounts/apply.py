"""A row, or an edit, applied to an account: what it shall be, and what became of it. Nothing is stored here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from models.account_state import Status, fingerprint
from models.providers import Provider
from models.token import Secret, TokenSet
from worker.accounts.columns import LABELS
from worker.accounts.configuration import KnownClients, configure
from worker.accounts.entry import AccountEntry, Problem, RowRefused
from worker.accounts.entry_tokens import BEARER, describe, refresh_token_end, times_of
from worker.accounts.token_precedence import (
    Decision,
    ImportOutcome,
    StoredTokens,
    TokenFacts,
    decide,
    outcome,
    replaces_alone,
)
from worker.accounts.unsealed import UnsealedAccount
from worker.accounts.validation import AccountValidator
from worker.clock import draw_jitter
from worker.crypto.sealer import ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN, AccountSealer
from worker.db.accounts.stored import blank
from worker.policy.due import due, session_policy, token_times
from worker.policy.reasons.due import ISSUE_TIME_UNKNOWN, NO_TOKEN_YET
from worker.policy.reasons.login import NO_GRANT_YET

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account
    from models.tables.client import Client

#: The provider of an account that names none and brings its own address.
GENERIC: Final = "generic"
#: What tells at which server, and of which client, a refresh token is a grant.
_OF_THE_CLIENT: Final = frozenset(
    {"client", "client_id", "provider", "token_url", "server_url", "refresh_method", "callback"}
)


class Intent(Enum):
    """Whose word it is."""

    FILE = "file"
    #: A file, by someone who has said that its tokens replace what is stored.
    FILE_REPLACES = "file_replaces"
    #: A person, for this account.
    PERSON = "person"


class Applied(Struct, frozen=True):
    """One account as it shall be, and how it came to that."""

    account: Account
    outcome: ImportOutcome
    decision: Decision
    #: Generation and config version that were read; None: the account is new.
    seen: tuple[int, int] | None
    #: Names of the fields that changed.
    changed: tuple[str, ...] = ()
    access_token: Secret | None = None
    #: New tokens ended a state in which there were none to use.
    recovered: bool = False
    #: The tokens stay; only where they came from is noted.
    source_only: bool = False
    #: Nothing changed but labels, which no refresh depends on.
    labels_only: bool = False
    #: Fingerprints of refresh tokens that become the account's, or come to be another client's: none may be a twin's.
    new_grants: frozenset[str] = frozenset()


class DueSpreader:
    """Gives accounts of unknown age their turn, one after the other at the rate that their provider takes.

    So an import of a million accounts is no stampede that kills a million live tokens (DESIGN section 2).
    """

    def __init__(self, requests_per_s: float) -> None:
        self._requests_per_s = requests_per_s
        self._given: Counter[str] = Counter()

    def schedule(self, account: Account, provider: Provider, *, now: float) -> None:
        """Set when the account is due."""
        rate = provider.requests_per_s or self._requests_per_s
        policy = session_policy(account, provider, spread_s=1 / rate)
        when = due(policy, token_times(account), jitter=account.jitter, now=now)
        if when.at is not None and when.reason in {ISSUE_TIME_UNKNOWN, NO_TOKEN_YET}:
            when = replace(when, at=when.at + self._given[account.provider] / rate)
            self._given[account.provider] += 1
        account.rescheduled(when.at, when.reason)


class Applier:
    """Applies entries, one at a time.

    Args:
        sealer: opens and seals secrets.
        checker: finds providers, and says what is wrong.
        spread: gives accounts their turn.
        clients: what entries may name as `client`; read for the next entries by `know_clients`. None: none is known.
    """

    def __init__(
        self,
        *,
        sealer: AccountSealer,
        checker: AccountValidator,
        spread: DueSpreader,
        clients: KnownClients | None = None,
    ) -> None:
        self._sealer = sealer
        self._checker = checker
        self._spread = spread
        self._clients = clients

    def know_clients(self, entries: Iterable[AccountEntry], accounts: Collection[Account] = ()) -> None:
        """Read the clients that the next entries name, and those of the accounts that they change, at once."""
        if self._clients is not None:
            self._clients.read(entries, accounts)

    def add(self, entry: AccountEntry, *, retired: int, now: float, may_await_grant: bool = False) -> Applied:
        """Make a new account.

        Args:
            entry: what the row or the person says.
            retired: the generation from which an account of this id that was removed goes on, or 0.
            now: epoch seconds.
            may_await_grant: without a refresh token that it needs it is stored in `reauthorize`, and waits for a grant.

        Raises:
            Refused: it can't be stored.
        """
        client = self._client(entry, None)
        account = blank(
            entry.id,
            provider=GENERIC if client is None else client.provider,
            generation=retired,
            published_generation=-1,
            jitter=draw_jitter(),
            created_at=now,
            status_at=now,
        )
        opened = UnsealedAccount(account, self._sealer)
        configure(opened, entry, client)
        named = client is not None or "provider" in entry.settings
        if not named and not (account.token_url or account.callback):
            raise RowRefused([Problem("provider", "is missing (or token_url, for any OAuth 2.0 provider)")])
        provider = self._checker.provider(account, asked=account.refresh_enabled)
        file_fp = fingerprint(entry.refresh_token or entry.access_token)
        decision = decide(TokenFacts(file_fp=file_fp, stored_fp=None, source_fp=None, same=False))
        # Without an access token there is nothing to publish, and no generation yet.
        self._take(opened, entry, provider, new_generation=entry.access_token is not None, now=now)
        status = Status.ACTIVE if account.refresh_enabled else Status.DISABLED
        opened.set_columns(source_fp=file_fp, status=status)
        self._check_and_schedule(opened, provider, may_await_grant=may_await_grant, now=now)
        return Applied(
            account,
            ImportOutcome.ADDED,
            decision,
            None,
            access_token=entry.access_token,
            new_grants=_grants(account),
        )

    def change(
        self, entry: AccountEntry, account: Account, *, once_held: bool, intent: Intent, now: float
    ) -> Applied:
        """Apply an entry to an account that is there.

        Args:
            entry: what the row or the person says.
            account: as it was just read; it is changed.
            once_held: the account has sent or received the entry's refresh token.
            intent: who says so.
            now: epoch seconds.

        Raises:
            Refused: the account could not be stored like that.
        """
        seen, was_troubled = (account.generation, account.config_version), account.is_troubled
        had, awaits_grant = _grants(account), account.reason == NO_GRANT_YET
        opened = UnsealedAccount(account, self._sealer)
        changed = configure(opened, entry, self._client(entry, account))
        replace_tokens = intent is not Intent.FILE
        anew = replace_tokens and opened.has_lost_tokens()
        facts = _facts(opened, entry, once_held=once_held, anew=anew, now=now)
        decision = decide(facts, replace=replace_tokens)
        provider = self._checker.provider(account, asked=account.refresh_enabled)
        if decision.tokens is StoredTokens.TAKE:
            changed += [name for name, token in entry.secrets.items() if name != CLIENT_SECRET and token]
        elif _describes_the_stored_token(opened, entry, intent):
            changed += describe(account, entry, provider, now=now)
        if not changed:
            source_only = decision.tokens is StoredTokens.SAME and facts.file_fp != facts.source_fp
            if source_only:
                account.source_fp = facts.file_fp
            counted = outcome(decision, configuration_changed=False)
            return Applied(account, counted, decision, seen, source_only=source_only)
        if changed == [LABELS]:
            counted = outcome(decision, configuration_changed=True)
            return Applied(account, counted, decision, seen, changed=(LABELS,), labels_only=True)
        if set(changed) - {ACCESS_TOKEN, REFRESH_TOKEN, LABELS}:
            account.reconfigured(now=now)
        if decision.tokens is StoredTokens.TAKE:
            self._take(opened, entry, provider, new_generation=True, now=now)
            account.source_fp = facts.file_fp
        self._check_and_schedule(opened, provider, may_await_grant=awaits_grant, now=now)
        return Applied(
            account,
            outcome(decision, configuration_changed=True),
            decision,
            seen,
            changed=tuple(dict.fromkeys(changed)),
            access_token=opened.get(ACCESS_TOKEN),
            recovered=decision.tokens is StoredTokens.TAKE and was_troubled,
            new_grants=_grants(account) - (frozenset() if _OF_THE_CLIENT & set(changed) else had),
        )

    def _check_and_schedule(
        self, opened: UnsealedAccount, provider: Provider, *, may_await_grant: bool, now: float
    ) -> None:
        """Check an account, and set when it is due; without a grant it waits for one, where it may.

        Raises:
            Refused: it can't be stored.
        """
        account = opened.account
        try:
            self._checker.check(opened, provider)
        except RowRefused as refused:
            if not may_await_grant or opened.get(ACCESS_TOKEN):
                raise
            if others := [one for one in refused.problems if one.field != REFRESH_TOKEN]:
                raise RowRefused(others) from None
            account.awaits_grant(NO_GRANT_YET, now=now)
        else:
            self._spread.schedule(account, provider, now=now)

    def _client(self, entry: AccountEntry, account: Account | None) -> Client | None:
        """Return the client that the account uses once the entry is applied."""
        return None if self._clients is None else self._clients.of(entry, account)

    def _take(
        self,
        opened: UnsealedAccount,
        entry: AccountEntry,
        provider: Provider,
        *,
        new_generation: bool,
        now: float,
    ) -> None:
        """Put the entry's tokens in the place of the stored ones; one that it does not name stays.

        But for an access token beside which another refresh token is given: it may be another owner's.
        """
        account = opened.account
        alone = replaces_alone(account, entry.access_token, entry.refresh_token)
        access_token = entry.access_token or (None if alone else opened.get(ACCESS_TOKEN))
        if entry.access_token or not access_token:
            issued_at, expires_at = times_of(entry, provider, now=now)
            token_type, scope = entry.text("token_type") or BEARER, entry.text("scope") or account.scope
        else:
            issued_at, expires_at = account.issued_at, account.expires_at
            token_type, scope = account.token_type, account.scope
        opened.set_tokens(
            TokenSet(
                access_token=access_token or Secret(""),
                refresh_token=entry.refresh_token or opened.get(REFRESH_TOKEN),
                token_type=token_type,
                scope=scope,
                issued_at=issued_at,
                expires_at=expires_at,
                refresh_token_expires_at=refresh_token_end(account, entry, provider, issued_at),
                extra={**opened.stored_extra(), **(entry.granted.extra if entry.granted else {})},
            ),
            new_generation=new_generation,
            now=now,
        )


def _grants(account: Account) -> frozenset[str]:
    """Return the fingerprints of the refresh token that is stored and of the one that was given last."""
    if account.refresh_fp is None:
        return frozenset()
    return frozenset(fp for fp in (account.refresh_fp, account.source_fp) if fp is not None)


def _facts(
    opened: UnsealedAccount, entry: AccountEntry, *, once_held: bool, anew: bool, now: float
) -> TokenFacts:
    """Return what is known of two token sets; `anew`: the same tokens are stored again, as the stored ones do not open."""
    account, access, refresh = opened.account, entry.access_token, entry.refresh_token
    issued_at = entry.seconds("issued_at")
    return TokenFacts(
        file_fp=fingerprint(refresh or access),
        stored_fp=opened.token_fingerprint(),
        source_fp=account.source_fp,
        same=not anew
        and (not refresh or fingerprint(refresh) == account.refresh_fp)
        and (not access or access == opened.get(ACCESS_TOKEN)),
        once_held=once_held,
        file_issued_at=None if issued_at is None else min(issued_at, now),
        stored_issued_at=account.issued_at,
        status=account.status,
    )


def _describes_the_stored_token(opened: UnsealedAccount, entry: AccountEntry, intent: Intent) -> bool:
    """Return whether what the entry says of a token is said of the stored one, and not of one before it."""
    if not entry.of_the_token:
        return False
    if intent is Intent.PERSON:
        return True
    stored = opened.get(ACCESS_TOKEN)
    issued_at, known = entry.seconds("issued_at"), opened.account.issued_at
    if issued_at is not None and known is not None and issued_at < known:
        return False
    return entry.access_token == stored if stored else not entry.access_token
