"""Every error that the reader raises on purpose.

    ReaderError
    ├── UnusableUrl              not a Redis URL, or one with options that redis-py does not know
    ├── RedisUnreachable         no answer in time, or none with data in it
    │   └── RedisRefused         it answers and refuses: wrong login, or a right that the Redis user lacks
    └── NoUsableToken            Redis answers, and there is no token to use; says why
        ├── PayloadUnreadable    the key's content is not what `docs/redis.md` describes
        ├── KeyMissing           it is sealed with a key that this reader does not have
        ├── UnknownAccount       nothing was ever published for this id
        ├── RefreshUnderWay      the account is in order, its next token is not there yet
        ├── TokenTooShort        there is a token, and it ends before `min_lifetime_s`
        ├── Reauthorize          the grant is gone: a person has to authorize again
        ├── Misconfigured        the client or the provider's configuration is wrong
        ├── Disabled             an operator switched refreshing off
        ├── Paused               an operator paused refreshing, and the token has ended meanwhile
        └── WaitTimedOut         `wait_for` ended before a newer token came

A message says which account, in the system's own reason, and never holds a token.
"""

from __future__ import annotations

from datetime import UTC, datetime

from refreshd_reader.contract import PAUSED, AccountState


class ReaderError(Exception):
    """Something that a connector can act on."""


class UnusableUrl(ReaderError, ValueError):
    """The argument of `from_url` is not a Redis URL, or has options that redis-py does not know."""


class RedisUnreachable(ReaderError):
    """Redis does not answer in time, or its answer holds no data."""


class RedisRefused(RedisUnreachable):
    """Redis answers and refuses: wrong login, or a command or key that the Redis user may not use."""


class NoUsableToken(ReaderError):
    """There is no token to use now.

    Attributes:
        account: the id that was asked for.
        state: the content of `refreshd:account:{ACCOUNT}`, None where that is absent.
    """

    def __init__(self, account: str, state: AccountState | None, problem: str) -> None:
        super().__init__(f"{account}: {problem}")
        self.account = account
        self.state = state

    @property
    def status(self) -> str | None:
        """`active`, `degraded`, `reauthorize`, `misconfigured`, `disabled`; None for an unknown account."""
        return self.state.status if self.state else None

    @property
    def reason(self) -> str | None:
        """The system's own reason, such as `invalid_grant`."""
        return self.state.reason if self.state else None


class PayloadUnreadable(NoUsableToken):
    """A key holds something that is not what `docs/redis.md` describes."""

    def __init__(self, account: str, problem: str) -> None:
        super().__init__(account, None, f"{problem}; docs/redis.md describes what belongs there")


class KeyMissing(NoUsableToken):
    """The token is sealed with a key that this reader does not have."""

    def __init__(self, account: str, key_id: str) -> None:
        super().__init__(
            account, None, f"its token is sealed with key {key_id!r}: add it to the reader's `keys`"
        )
        self.key_id = key_id


class UnknownAccount(NoUsableToken):
    """Nothing was ever published for this id."""


class RefreshUnderWay(NoUsableToken):
    """The account is in order (or retries by itself), and its next token is not there yet."""


class TokenTooShort(NoUsableToken):
    """There is a token, and it ends before `min_lifetime_s`."""

    def __init__(self, account: str, state: AccountState | None, problem: str, lifetime_s: float) -> None:
        super().__init__(account, state, problem)
        #: Remaining lifetime of the token that exists, seconds.
        self.lifetime_s = lifetime_s


class Reauthorize(NoUsableToken):
    """The grant is gone: a person has to authorize again."""


class Misconfigured(NoUsableToken):
    """The client or the provider's configuration is wrong; refreshing is retried slowly."""


class Disabled(NoUsableToken):
    """An operator switched this account's refreshing off."""


class Paused(NoUsableToken):
    """An operator paused refreshing, and the token has ended: the next one comes when the pause is over."""


class WaitTimedOut(NoUsableToken):
    """`wait_for` ended before a newer token came."""


#: The error of a missing token, by the account's status. None of these ends by waiting a few seconds.
SETTLED: dict[str, type[NoUsableToken]] = {
    "reauthorize": Reauthorize,
    "misconfigured": Misconfigured,
    "disabled": Disabled,
}


def settled(state: AccountState | None) -> type[NoUsableToken] | None:
    """Return the error of a missing token if waiting a few seconds does not help, None if it may."""
    if state is None:
        return None
    return Paused if state.reason == PAUSED else SETTLED.get(state.status)


def no_token(account: str, state: AccountState | None) -> NoUsableToken:
    """Return the error that describes why there is no token, by the account's status."""
    if state is None:
        return UnknownAccount(
            account,
            None,
            "unknown account: nothing is published for it. Ids are case-sensitive; or this is another Redis, database or "
            "prefix than the one that refreshd publishes to",
        )
    meaning = settled(state)
    if meaning is not None:
        return meaning(account, state, in_words(state))
    if state.status in {"active", "degraded"}:
        return RefreshUnderWay(account, state, f"no token now, refresh under way ({in_words(state)})")
    return NoUsableToken(account, state, in_words(state))


def in_words(state: AccountState | None) -> str:
    """Return an account's state as a person reads it: `reauthorize: invalid_grant since 2026-11-24T01:55:00Z`."""
    if state is None:
        return "unknown account"
    if state.reason == PAUSED:
        since = "" if state.since is None else f" since {_utc(state.since)}"
        return f"paused by an operator, and without a token{since}: the next one comes when the pause is over"
    words = state.status
    if state.reason:
        words += f": {state.reason}"
    if state.since is not None:
        words += f" since {_utc(state.since)}"
    if state.next_refresh_at is not None:
        words += f", next refresh at {_utc(state.next_refresh_at)}"
    return words


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
