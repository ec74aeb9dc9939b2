"""Findings between a stored token and the API that it is for. Pure; `rules/__init__.py` orders them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

from models.account_state import RefreshMethod
from models.outcome import Outcome, Trigger
from models.providers.dpop import is_bound
from refreshd_reader.contract import DEFAULT_PREFIX
from worker.db.publication.comparison import CAUSES
from worker.diagnostics.explain.facts import Facts, Finding, RedisFacts
from worker.durations import duration
from worker.policy.reasons.skipped import FRESH_TOKENS_REJECTED
from worker.policy.rejected_tokens import WORKED_S

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt

#: A loss that was made good is told for so long, seconds.
LOSS_NEWS_S: Final = 3600.0
#: So many refreshes that connectors reported for are a pattern.
_REPORTS_TELLING: Final = 2


def another_redis(facts: Facts) -> Iterator[Finding]:
    """Return where this Redis has never heard of an account that was published: its state has no expiry."""
    redis, generation = facts.redis, facts.account.published_generation
    if redis is None or generation <= 0 or (redis.state_generation, redis.token_generation) != (None, None):
        return
    yield Finding(
        "another_redis",
        f"Generation {generation} was published, and the Redis that is looked at here ({redis.where}, prefix "
        f"`{redis.prefix}`) has never heard of this account: it is not the workers', or was emptied.",
        "Compare REFRESHD_REDIS_URL and REFRESHD_REDIS_PREFIX here with the workers' and the connectors'. If they are the "
        "same, Redis was emptied: a worker and beat fill it again within a minute, `refreshd status` shows both.",
    )


def published(facts: Facts) -> Iterator[Finding]:
    """Return where Redis does not hold what the database does."""
    account, redis = facts.account, facts.redis
    if (
        redis is None
        or not _has_good_token(facts)
        or redis.token_generation == account.generation
        or facts.read_only
    ):
        return
    if account.published_generation > 0 and (redis.state_generation, redis.token_generation) == (None, None):
        return  # `another_redis` says it
    has = "none" if redis.token_generation is None else f"generation {redis.token_generation}"
    if redis.state_generation is not None and redis.state_generation > account.generation:
        yield Finding(
            "database_older_than_redis",
            f"The database has generation {account.generation}, Redis has seen {redis.state_generation}: the database "
            "was restored from a backup, or is a replica that lagged when it was promoted. "
            + (
                "Redis keeps the last answer, sealed: the next refresh stores it again, and sends nothing to the provider."
                if redis.answer_kept
                else "Redis does not keep the last answer any more: where refresh tokens rotate, the database's is spent."
            ),
            f"`refreshd refresh {account.id} --force --wait` stores it now; `refreshd db restored` has all of them stored"
            if redis.answer_kept
            else "`refreshd db restored`",
        )
        return
    behind = account.published_generation < account.generation
    yield Finding(
        "not_published",
        f"The database has a good token (generation {account.generation}), Redis has {has}: readers see what Redis has."
        + ("" if behind else _lost_unnoticed(facts)),
        (
            "Each plan looks for such accounts: `refreshd status` shows whether plans are made, `refreshd doctor` what keeps "
            "Redis from holding it. "
            if behind
            else ""
        )
        + f"`refreshd refresh {facts.account.id} --force --wait` publishes a new one now.",
    )


def _lost_unnoticed(facts: Facts) -> str:
    """Return where the database takes for published what Redis has lost: then no plan misses it."""
    due_at = facts.account.next_refresh_at
    left_s = 0.0 if due_at is None else due_at - facts.now
    until = f" in {duration(left_s)}" if left_s > 0 else ""
    return (
        " It was published, so Redis has lost it since: the key was deleted or evicted, or a failover led to a replica that "
        "lagged. A comparison with SQL finds it: at once after a failover, a restart, an eviction or many DELs, else when its turn comes "
        f"(`refreshd doctor` shows the last one); the next refresh{until}, or a connector's report, brings it too."
    )


def _is_there(facts: Facts, redis: RedisFacts) -> bool:
    """Return whether Redis has the account's state and, where one is good, its token."""
    generation = facts.account.generation
    return redis.state_generation == generation and (
        not _has_good_token(facts) or redis.token_generation == generation
    )


def _has_good_token(facts: Facts) -> bool:
    account = facts.account
    return account.access_token_sealed is not None and (
        account.expires_at is None or account.expires_at > facts.now
    )


def had_lost(facts: Facts) -> Iterator[Finding]:
    """Return that Redis had lost what it has again: a connector that read in between found nothing, or older data."""
    loss = facts.loss
    if loss is None or facts.now - loss.at > LOSS_NEWS_S:
        return
    if facts.redis is not None and not _is_there(facts, facts.redis):
        return
    if facts.account.id not in loss.some and loss.accounts <= len(loss.some):
        return
    this = "this one" if facts.account.id in loss.some else "perhaps this one"
    whose = "this account" if loss.accounts == 1 else f"{loss.accounts:,} accounts, {this} among them"
    yield Finding(
        "redis_had_lost_tokens",
        f"{duration(facts.now - loss.at)} ago Redis lacked what was published of {whose}: "
        f"{CAUSES[loss.why]}. It was published again; a connector that read before then found no token, or an older one.",
        "Nothing for this account; `refreshd doctor` says what to do so that it does not repeat.",
        wrong=False,
    )


def elsewhere(facts: Facts) -> Iterator[Finding]:
    """Return where a connector without a prefix finds another token of the same account."""
    redis = facts.redis
    if redis is None or redis.default_prefix_generation is None:
        return
    yield Finding(
        "another_prefix",
        f"The same Redis holds a token of this account under the prefix `{DEFAULT_PREFIX}`, too (generation "
        f"{redis.default_prefix_generation}); this one is under `{redis.prefix}` (generation "
        f"{redis.token_generation or 'none'}). A connector without a prefix reads the other.",
        f"Give the connector the prefix: `Reader(..., prefix={redis.prefix!r})`.",
        wrong=redis.default_prefix_generation != redis.token_generation,
    )


def rejected(facts: Facts) -> Iterator[Finding]:
    """Return the finding of several reports of rejected tokens."""
    reported = [one for one in facts.attempts if one.trigger == Trigger.REPORTED]
    refreshed = [one for one in reported if one.outcome == Outcome.REFRESHED]
    in_vain = any(one.reason == FRESH_TOKENS_REJECTED for one in reported)
    lost = next((one.scope_lost for one in facts.attempts if one.scope_lost), None)
    ages_s = _ages_when_reported(facts.attempts)
    worked = len(ages_s) >= _REPORTS_TELLING and median(ages_s) >= WORKED_S
    if worked:
        yield _short_lived(facts, median(ages_s))
    elif in_vain or len(refreshed) >= _REPORTS_TELLING:
        yield _fresh_rejected(facts, lost)
    elif lost:
        yield Finding(
            "scopes_lost",
            f"A refresh lost these scopes: {lost}. Left: {facts.account.scope or 'none that the provider names'}. "
            "An API answers 403 to what they allowed.",
            "A new consent grants scopes, a refresh never does: `refreshd accounts authorize "
            f"{facts.account.id} scope=...` asks for one.",
            wrong=False,
        )


def _fresh_rejected(facts: Facts, lost: str | None) -> Finding:
    account = facts.account
    narrowed = f" A refresh lost these scopes: {lost}." if lost else ""
    bound = (
        " They are bound to a key (DPoP): does the connector prove the account's `dpop_key`, with `ath` and the API's nonce?"
        if is_bound(account.token_type)
        else ""
    )
    by_callback = account.refresh_method == RefreshMethod.CALLBACK and account.callback is not None
    return Finding(
        "api_rejects_fresh_tokens",
        "Connectors report that the API rejects tokens that are fresh: refreshing works, and is not what is missing. "
        f"Granted scopes: {account.scope or 'not named by the provider'}.{narrowed}{bound}",
        (
            f"See what the callback returns: `refreshd callbacks test {account.callback} --account {account.id}`: is it "
            "the access token, of the right user and environment? Then compare "
            if by_callback
            else "Compare "
        )
        + "the scopes, the user's permissions and the API's address with what the call needs. A new consent grants more "
        "scopes, a refresh never does.",
    )


def _short_lived(facts: Facts, age_s: float) -> Finding:
    account = facts.account
    return Finding(
        "token_ends_before_it_is_due",
        f"The API rejected its tokens when they were about {age_s:.0f} s old, though they were not due yet: they live "
        "shorter than planned for, or another program refreshes the same grant, which ends ours.",
        f"`refreshd accounts edit {account.id} session_management=fixed session_timeout_s={max(int(age_s * 0.8), 1)}`, "
        "unless another program uses the grant: stop that one, or give it a grant of its own.",
    )


def _ages_when_reported(attempts: Sequence[Attempt]) -> list[float]:
    """Return how old each token was that a report replaced, seconds. Attempts are newest first."""
    stored = [one for one in attempts if one.outcome == Outcome.REFRESHED and one.generation_after]
    return [
        later.opened_at - earlier.opened_at
        for later, earlier in pairwise(stored)
        if later.trigger == Trigger.REPORTED and later.generation == earlier.generation_after
    ]
