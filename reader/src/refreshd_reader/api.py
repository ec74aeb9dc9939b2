"""The client of refreshd's run-time API (docs/api.md). Needs the extra `api`.

    from refreshd_reader.api import Accounts

    with Accounts("https://connect.example.com", key) as accounts:
        accounts.put("acct-1", client="crm", labels={"tenant": "acme"})
        accounts.put_grant("acct-1", token_response)
        for account in accounts.reconnectable():
            ...

`AsyncAccounts` is the same for asyncio. Every error is an `ApiError`; one that the API answered with is an `ApiProblem`,
which carries the problem.
"""

from refreshd_reader._async.accounts import AsyncAccounts
from refreshd_reader._sync.accounts import Accounts
from refreshd_reader.api_answers import (
    Account,
    AccountBrief,
    Applied,
    ConnectSession,
    Event,
    Granted,
    OpenedSession,
    Refreshed,
    RowResult,
    Status,
)
from refreshd_reader.api_errors import (
    ApiError,
    ApiProblem,
    ApiUnreachable,
    Conflict,
    FieldError,
    Forbidden,
    GrantRefused,
    Invalid,
    NotFound,
    NoToken,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)

__all__ = [
    "Account",
    "AccountBrief",
    "Accounts",
    "ApiError",
    "ApiProblem",
    "ApiUnreachable",
    "Applied",
    "AsyncAccounts",
    "Conflict",
    "ConnectSession",
    "Event",
    "FieldError",
    "Forbidden",
    "GrantRefused",
    "Granted",
    "Invalid",
    "NoToken",
    "NotFound",
    "OpenedSession",
    "Refreshed",
    "RowResult",
    "Status",
    "TooManyRequests",
    "Unauthenticated",
    "Unavailable",
]
