"""What an explanation says of an account beside its findings: sentences about its token, its policy and Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict

from models.account_state import SessionManagement
from refreshd_reader.contract import DEFAULT_PREFIX
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.token import is_untried
from worker.durations import ago_or_in, duration
from worker.policy.due import due, session_policy, token_times
from worker.policy.reasons import due as reasons_due
from worker.policy.reasons import message_of, reasons_of
from worker.policy.reasons.skipped import REFRESH_DISABLED, SESSION_NONE

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt

#: The lines that may be shown of what redis-cli prints: the generation, and why there is no answer. No token begins so.
_SHOWN: Final = "^generation$|^(AUTH failed|Could not|NOAUTH|NOPERM|WRONGPASS|ERR) "
#: Entries of the history that are shown.
LATELY: Final = 5
#: Reasons of a policy: the due time is not that of a try after a failure.
_OF_THE_POLICY: Final = frozenset({*reasons_of(reasons_due), REFRESH_DISABLED, SESSION_NONE})


def as_object(facts: Facts, findings: list[Finding]) -> dict[str, Any]:
    """Return the page for scripts."""
    account = facts.account
    return {
        "account": account.id,
        "status": account.status,
        "reason": account.reason,
        "generation": account.generation,
        "expires_at": account.expires_at,
        "next_refresh_at": account.next_refresh_at,
        "due_reason": account.due_reason,
        "token": token_words(facts),
        "policy": policy_words(facts),
        "scope": account.scope,
        "redis": None if facts.redis is None else asdict(facts.redis),
        "compare": compare_words(facts),
        "lately": [_brief(one) for one in facts.attempts[:LATELY]],
        "findings": [_finding(one) for one in findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    """Return a finding as data; `words` and `remedy` are the former names of `message` and `hint`."""
    return {**asdict(finding), "words": finding.message, "remedy": finding.hint}


def _brief(attempt: Attempt) -> dict[str, Any]:
    return {
        "opened_at": attempt.opened_at,
        "trigger": attempt.trigger,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "http_status": attempt.http_status,
    }


def token_words(facts: Facts) -> str:
    """Return whether the token is good right now, and until when."""
    account = facts.account
    if account.access_token_sealed is None:
        return "There is none."
    if account.expires_at is None:
        return f"Good as far as anybody knows: the provider names no end. Generation {account.generation}."
    at = datetime.fromtimestamp(account.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    when = ago_or_in(account.expires_at, now=facts.now)
    word = f"Ended {when}" if account.expires_at <= facts.now else f"Good; it ends {when}"
    return f"{word} ({at}). Generation {account.generation}."


def policy_words(facts: Facts) -> str:
    """Return what the policy is, when the next refresh is due, and why then."""
    account = facts.account
    timeout = (
        f", every {duration(account.session_timeout_s)}"
        if account.session_management == SessionManagement.FIXED
        else ""
    )
    policy = f"Session management `{account.session_management}`{timeout}."
    if account.next_refresh_at is None:
        by_policy = account.due_reason in _OF_THE_POLICY
        why = account.due_reason if by_policy else account.reason or account.due_reason
        return f"{policy} No refresh is planned: {_sentence(why)}."
    late = account.next_refresh_at <= facts.now
    when = ago_or_in(account.next_refresh_at, now=facts.now)
    was = "A refresh has been due for" if late else "The next refresh is due"
    return f"{policy} {was} {when.removesuffix(' ago') if late else when}: {_due_why(facts)}."


def compare_words(facts: Facts) -> str:
    """Return what to compare where a connector gets no token, or an old one: it may look elsewhere."""
    if facts.redis is None:
        return ""
    redis, account = facts.redis, facts.account
    key = f"{redis.prefix}token:{{{account.id}}}"
    sealed = (
        f"\nIts access token is sealed with the publish key `{redis.token_sealed_with}`: the connector needs that key "
        "(REFRESHD_PUBLISH_KEYS), and finds no `access_token` without it."
        if redis.token_sealed_with
        else ""
    )
    has = "nothing" if redis.token_generation is None else f"generation {redis.token_generation}"
    refuses = (
        "the token may be dead, see above."
        if is_untried(facts)
        else "the API refuses a good token (scope, permission, environment), which no refresh mends; have the connector report it "
        "(`report_rejected`), and this page says more."
    )
    return (
        "A connector that gets 401 or 403 all the same may look elsewhere. Run this with its own Redis address (refreshd's "
        f"is {redis.where}) and prefix:\n"
        # Of all commands that read a field, a connector's user may HGETALL alone; its other lines are not to be shown.
        f"  redis-cli -u REDIS_URL hgetall '{key}' 2>&1 | grep -A1 -E '{_SHOWN}'\n"
        "or, without redis-cli, where the connector's own reader is:\n"
        f"  {_read_by_python(redis.prefix, account.id)}\n"
        f"Here it gives {has}. Another one, or nothing: it is another Redis, database or prefix. NOAUTH, WRONGPASS: the login "
        "(some redis-cli need a user name: `redis://default:PASSWORD@HOST`). "
        f"The same one: {refuses}{sealed}"
    )


def _read_by_python(prefix: str, account_id: str) -> str:
    named = "" if prefix == DEFAULT_PREFIX else f", prefix={prefix!r}"
    program = f"print(Reader.from_url('REDIS_URL'{named}).get({account_id!r}).generation)"
    return "python3 -c " + f'"from refreshd_reader import Reader; {program}"'


def _due_why(facts: Facts) -> str:
    account = facts.account
    if account.due_reason in _OF_THE_POLICY:
        return _sentence(account.due_reason)
    if facts.provider is not None:
        policy = due(
            session_policy(account, facts.provider),
            token_times(account),
            jitter=account.jitter,
            now=facts.now,
        )
        if policy.at == account.next_refresh_at:
            return _sentence(policy.reason)
    if not any(one.closed_at is not None for one in facts.attempts):
        return "as it was given"
    return f"after a failure ({account.due_reason or account.reason or 'the last try'})"


def _sentence(reason: str) -> str:
    words = message_of(reason).rstrip(".")
    return f"{words[0].lower()}{words[1:]}" if words else "its session policy plans none"
