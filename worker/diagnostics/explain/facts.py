"""The facts that `explain` judges: SQL, Redis and the live workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from models.account_state import Status
from models.outcome import Outcome
from models.pause_scope import PauseEntry
from models.providers import Provider
from worker.db.publication.comparison import Loss
from worker.policy.gates import Gate

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account
    from models.tables.attempt import Attempt
    from models.tables.client import Client


class RedisFacts(Struct, frozen=True, kw_only=True):
    """The keys of one account in Redis. Times in epoch seconds, durations in seconds."""

    #: host:port/database, never a password.
    where: str
    prefix: str
    token_generation: int | None = None
    #: The id of the key that the published access token is sealed with; None: it stands there in clear.
    token_sealed_with: str | None = None
    #: Generation of a token of this account under the default prefix, where ours is another.
    default_prefix_generation: int | None = None
    state_generation: int | None = None
    #: HOST/PROCESS/...: the holder of the lease.
    lease_holder: str | None = None
    #: Seconds until the lease ends, unless it is renewed.
    lease_s: float | None = None
    #: Seconds since the lease was taken or renewed.
    lease_renewed_ago_s: float | None = None
    stashed: bool = False
    stash_error: str | None = None
    #: The answer that was committed last is kept.
    answer_kept: bool = False
    queues: Mapping[str, int] = field(default_factory=dict)
    #: Seconds by which Redis' clock is ahead of the database's.
    ahead_s: float = 0.0


class Twin(Struct, frozen=True):
    """Another account of the same client that has the same refresh token, or was given the same one last."""

    #: None: the reader may not learn of it.
    id: str | None
    status: str


class GateFacts(Struct, frozen=True, kw_only=True):
    """The closed gate that an account meets: the one that holds it, else its origin's."""

    #: The gate's owner, since when and why, for people.
    sentence: str
    #: The account that is asked next, and when.
    next_words: str
    gate: Gate
    #: It holds this account now.
    holds: bool
    accounts: int

    def words_for(self, account_id: str) -> str:
        """Return what the gate means for an account: whom it holds, since when and why, and who is asked next."""
        others = self.accounts - 1
        beside = f" and {others:,} {'other' if others == 1 else 'others'}" if others > 0 else ""
        held = f"A gate holds this account{beside}" if self.holds else "A gate is closed"
        by = " It was this account's call that closed it." if self.gate.by == account_id else ""
        return f"{held}. {self.sentence}.{by} Next: {self.next_words or 'no account is left to try'}."


class RegistrationFacts(Struct, frozen=True):
    """How a client was registered with its server (RFC 7591)."""

    issuer: str
    registered_at: float
    #: The server lets it be read and renewed (RFC 7592).
    is_managed: bool
    #: Why it could not be kept; None: nothing failed.
    failure: str | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """The facts of one account that can be read from outside a worker."""

    now: float
    account: Account
    #: None: its provider is described nowhere, and the account gives no token URL.
    provider: Provider | None
    attempts: Sequence[Attempt] = ()
    #: None: Redis did not answer; `redis_error` says how.
    redis: RedisFacts | None = None
    redis_error: str | None = None
    #: Redis refused: another password, or a right that its user lacks.
    redis_refuses: bool = False
    gate: GateFacts | None = None
    #: Worker -> the queues that it takes from; None: no worker could be asked.
    workers: Mapping[str, Sequence[str]] | None = None
    #: Worker -> the ids of its keys, None where it does not say; None: none was asked. Asked where a worker lacked one.
    worker_keys: Mapping[str, frozenset[str] | None] | None = None
    #: The ids of the keys that sealed the account's secrets.
    sealed_with: frozenset[str] = frozenset()
    #: Worker -> the callbacks that it knows.
    callbacks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: Module -> why a callback worker could not use it.
    callback_problems: Mapping[str, str] = field(default_factory=dict)
    planned_at: float | None = None
    plan_interval_s: float = 1.0
    #: So many messages waiting in `refresh` hold planning back.
    queue_limit: int = 200
    #: Pauses that hold the account, the widest first.
    pauses: Sequence[PauseEntry] = ()
    #: Worker or beat -> seconds by which its clock is ahead of Redis', as it reported.
    clocks: Mapping[str, float] = field(default_factory=dict)
    #: What Redis lacked of accounts, as a comparison with SQL found, and has again.
    loss: Loss | None = None
    #: Seconds by which this machine's clock is ahead of the database's.
    skew_s: float = 0.0
    #: Why a secret of the account does not open, None where all do.
    sealed_error: str | None = None
    #: Why the database can't be written, None where it can.
    read_only: str | None = None
    #: Why the account's overrides do not fit its provider (`provider` is without them then), None where they do.
    knobs_error: str | None = None
    #: Why the token URL is refused, None where it is not.
    url_error: str | None = None
    #: Form-encoding changes the client's id or secret, so that `basic` and `basic_raw` differ; False where no key opens them.
    form_encoding_matters: bool = False
    #: When the client's certificate ends; None: it shows none, or none that can be read here.
    certificate_ends_at: float | None = None
    #: Accounts with the same grant.
    twins: Sequence[Twin] = ()
    #: The client that the account names; None: it names none, or one that is not stored.
    client: Client | None = None
    #: How that client was registered; None: by hand, or it can't be read here.
    registration: RegistrationFacts | None = None
    #: Why the metadata of the account's issuer could not be read last, and in words; None: they could, or it has none.
    metadata_failure: tuple[str, str] | None = None

    @property
    def lacks_token(self) -> bool:
        """Return whether there is no token that is good now."""
        ends_at = self.account.expires_at
        return self.account.access_token_sealed is None or (ends_at is not None and ends_at <= self.now)

    @property
    def is_wanting(self) -> bool:
        """Return whether the account lacks a token, or its status says so: what keeps it from being refreshed is wrong then."""
        return self.lacks_token or self.account.status not in {Status.ACTIVE, Status.DISABLED}

    @property
    def gate_met(self) -> GateFacts | None:
        """Return the closed gate that the next refresh meets; None where there is none, or it may open before."""
        found, due_at = self.gate, self.account.next_refresh_at
        if found is None or due_at is None:
            return None
        return found if found.holds or due_at <= max(self.now, found.gate.until) else None

    @property
    def was_imported(self) -> bool:
        """Return whether the token is as it was imported: the history has no refresh that brought it."""
        return self.account.access_token_sealed is not None and not any(
            one.outcome == Outcome.REFRESHED and one.generation_after == self.account.generation
            for one in self.attempts
        )


class Finding(Struct, frozen=True):
    """One thing that is wrong or worth knowing, and what to do about it."""

    #: A stable word for scripts and the runbook.
    cause: str
    #: What is wrong, since when, and who says so.
    message: str
    #: What to type or to do.
    hint: str
    #: False: worth knowing, but not what breaks anything now.
    wrong: bool = True
