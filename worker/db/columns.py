"""What one refresh writes: name -> PostgreSQL type of each column, by what it is for."""

from __future__ import annotations

from typing import Final

TOKEN: Final = {
    "access_token_sealed": "text",
    "refresh_token_sealed": "text",
    "refresh_fp": "text",
    "token_type": "text",
    "scope": "text",
    "issued_at": "double precision",
    "expires_at": "double precision",
    "refresh_token_expires_at": "double precision",
    "refresh_token_end_fixed": "boolean",
    "extra": "text",
    "jitter": "double precision",
}
SCHEDULE: Final = {
    "next_refresh_at": "double precision",
    "plan_at": "double precision",
    "due_reason": "text",
}
STATE: Final = SCHEDULE | {
    "generation": "bigint",
    "status": "text",
    "reason": "text",
    "status_at": "double precision",
    "failures": "bigint",
    "failed_at": "double precision",
    "succeeded_at": "double precision",
    "held_by": "text",
}
KEY: Final = {"id": "text", "attempt": "text", "seen": "bigint", "config_version": "bigint"}
OPENING: Final = {
    "id": "text",
    "account_id": "text",
    "trigger": "text",
    "worker": "text",
    "task_id": "text",
    "generation": "bigint",
    "config_version": "bigint",
    "refresh_fp": "text",
    "lock_wait_ms": "double precision",
}
CLOSING: Final = {
    "generation_after": "bigint",
    "received_fp": "text",
    "outcome": "text",
    "reason": "text",
    "http_status": "bigint",
    "error": "text",
    "error_description": "text",
    "provider_request_id": "text",
    "request": "text",
    "output": "text",
    "scope_lost": "text",
    "latency_ms": "double precision",
    "next_refresh_at": "double precision",
}
