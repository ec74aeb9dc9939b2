"""The table of commands: where each one is, and its summary in `--help`.

A command's module is imported when the command is used, so its summary stands here and nowhere else; further
paragraphs of its help are its function's docstring.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Command(NamedTuple):
    """A command, or a group of commands (`target` is then its Typer)."""

    name: str
    target: str
    panel: str | None
    summary: str


#: Commands by the group that lists them ("" is `refreshd` itself), in the order of its page.
COMMANDS: Final = {
    "": (
        Command("up", "worker.cli.run.up:up", "Run", "Run everything on this machine, on your own accounts, until Ctrl-C."),
        Command("demo", "worker.cli.run.demo:demo", "Run", "See it work: tokens being refreshed, live, against a local OAuth provider, until Ctrl-C."),
        Command("api", "worker.cli.run.api:api", "Run", "Serve the run-time API: grants, accounts and tokens over HTTP, until Ctrl-C."),
        Command("exporter", "worker.cli.run.exporter:exporter", "Run", "Serve metrics of the whole fleet for Prometheus, until Ctrl-C: from SQL, Redis and the workers."),
        Command("token", "worker.cli.token:token", "Tokens", "Show an account's access token: masked, unless [b]--reveal[/b]. Read from the database, not from Redis."),
        Command("refresh", "worker.cli.refresh.command:refresh", "Tokens", "Refresh accounts now. Without [b]--force[/b], only those that are due."),
        Command("pause", "worker.cli.pause:pause", "Tokens", "Pause planned refreshes of accounts, of a provider, of a label or of everything. Without arguments: show what is paused."),
        Command("resume", "worker.cli.pause:resume", "Tokens", "End pauses. Accounts that became due meanwhile are refreshed soonest first, at their provider's rate."),
        Command("explain", "worker.cli.explain:explain", "Answers", "Explain an account: is its token good, when is it refreshed and why then, what is wrong and what to do."),
        Command("history", "worker.cli.records.history:history", "Answers", "Show an account's history, oldest first: each attempt, each skipped attempt, and what people did."),
        Command("audit", "worker.cli.records.audit:audit", "Answers", "Show what people did, oldest first: who, when, what, on which account or provider."),
        Command("status", "worker.cli.status:status", "Answers", "Show the fleet: accounts by provider and status, what is overdue and failing, queues and workers."),
        Command("doctor", "worker.cli.doctor:doctor", "Answers", "Check the installation: versions, settings, database, Redis, clocks, keys, beat, workers, callbacks."),
        Command("db", "worker.cli.db:db_app", "Run", "Create and migrate the database's schema."),
        Command("keys", "worker.cli.keys:keys_app", "Run", "Manage the keys that encrypt secrets at rest (REFRESHD_KEYS; the first one encrypts)."),
        Command("api-keys", "worker.cli.api_keys:api_keys_app", "Run", "Create, list and revoke keys of the run-time API."),
        Command("accounts", "worker.cli.accounts:accounts_app", "Accounts", "Import, add, authorize, show, edit and remove accounts. docs/accounts.md describes every field."),
        Command("clients", "worker.cli.clients:clients_app", "Accounts", "Add, show, edit and remove clients that many accounts share (docs/clients.md)."),
        Command("providers", "worker.cli.providers:providers_app", "Accounts", "Show the settings of providers, and check your own."),
        Command("callbacks", "worker.cli.callbacks:callbacks_app", "Accounts", "List refresh callbacks, start a new one, and run one as in production."),
        Command("webhooks", "worker.cli.webhooks:webhooks_app", "Answers", "Manage webhooks: signed messages about what needs attention (REFRESHD_WEBHOOK_URL; docs/events.md)."),
    ),
    "accounts": (
        Command("import", "worker.cli.accounts.import_export:import_file", None, "Import accounts from a file. Idempotent: values that the file does not change are kept."),
        Command("add", "worker.cli.accounts.add:add", None, "Add one account. On a terminal, asks for what its provider needs and is missing."),
        Command("authorize", "worker.cli.accounts.authorize:authorize", None, "Ask an account's owner for consent, then store and publish the tokens."),
        Command("grant", "worker.cli.accounts.grant:grant", None, "Store a new grant in the place of the stored one: the account's owner consented again."),
        Command("list", "worker.cli.accounts.show:list_accounts", None, "List accounts with their status, ordered by id. Secrets are not shown."),
        Command("show", "worker.cli.accounts.show:show", None, "Show everything stored for one account, secrets masked (`refreshd token ID --reveal` shows a token)."),
        Command("edit", "worker.cli.accounts.edit:edit", None, "Change fields of an account. The new values apply from the next refresh on, which is planned again."),
        Command("enable", "worker.cli.accounts.edit:enable", None, "Enable refreshing of accounts again."),
        Command("disable", "worker.cli.accounts.edit:disable", None, "Disable refreshing of accounts. Their tokens stay published until they expire."),
        Command("remove", "worker.cli.accounts.remove:remove", None, "Remove accounts, their tokens and their keys in Redis. On a terminal, asks first."),
        Command("export", "worker.cli.accounts.import_export:export_file", None, "Write all accounts to a file that `import` reads; without their secrets by default."),
    ),
    "clients": (
        Command("add", "worker.cli.clients.change:add", None, "Add a client: its id and secret, for all accounts that say `client: NAME`."),
        Command("list", "worker.cli.clients.show:list_clients", None, "List clients, with their accounts and the end of each secret."),
        Command("show", "worker.cli.clients.show:show", None, "Show everything stored for one client, its secret masked."),
        Command("edit", "worker.cli.clients.change:edit", None, "Change fields of a client, for all of its accounts at once. Accounts that it had stopped are refreshed again."),
        Command("renew", "worker.cli.clients.change:renew", None, "Renew a registration at its server before its secret ends (RFC 7592)."),
        Command("remove", "worker.cli.clients.change:remove", None, "Remove a client that no account names."),
    ),
    "callbacks": (
        Command("test", "worker.cli.callbacks.test:try_command", None, "Run a callback as in production: on a callback worker, on the same path, with the account's own inputs."),
        Command("list", "worker.cli.callbacks.list:list_command", None, "List every callback: its source, the workers that have it, its accounts, its last run and the result."),
    ),
    "keys": (
        Command("list", "worker.cli.keys.stored:list_keys", None, "List the configured keys and the number of values that each one encrypted. Keys themselves are never shown."),
        Command("intake", "worker.cli.keys.stored:intake_key", None, "Print the public half of the writing key, for REFRESHD_INTAKE_KEY of a process that takes grants in and opens none."),
        Command("rotate", "worker.cli.keys.stored:rotate_keys", None, "Encrypt everything with the first key. Runs beside workers, in batches; after Ctrl-C, run it again to continue."),
        Command("check", "worker.cli.keys.stored:check_keys", None, "Decrypt every value, change nothing, and name the accounts that fail. Includes results that wait in Redis."),
    ),
    "api-keys": (
        Command("create", "worker.cli.api_keys.manage:create", None, "Create a key: its scopes, the labels that it is bound to, and its end."),
        Command("list", "worker.cli.api_keys.manage:list_keys", None, "List keys: scopes, labels, ends and last uses. Keys themselves are never shown."),
        Command("revoke", "worker.cli.api_keys.manage:revoke", None, "Revoke a key."),
    ),
    "webhooks": (
        Command("test", "worker.cli.webhooks.messages:send_test", None, "Send a signed message of type `test` to every webhook now, and show the responses."),
        Command("list", "worker.cli.webhooks.messages:list_webhooks", None, "Show each webhook's backlog, and its waiting and dead-lettered messages, newest first."),
        Command("retry", "worker.cli.webhooks.messages:retry", None, "Send dead-lettered messages again, with the same ids. The workers do it, within seconds."),
    ),
}  # fmt: skip
