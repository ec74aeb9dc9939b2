"""`refreshd accounts authorize`, the whole of it: a page, a person with a browser, tokens stored and published."""

from __future__ import annotations

import json
import signal
from typing import IO

import pytest

from models.tables.attempt import Trigger
from refreshd_reader import Reader, UnknownAccount
from tests.oidc.browser import Browser
from tests.oidc.conftest import SECRET, Deployment
from tests.oidc.consent import SCOPE
from tests.oidc.server import AuthorizationServer
from worker.context import current_actor
from worker.crypto.keyring import load_cipher
from worker.crypto.sealer import AccountSealer
from worker.db.engine import make_engine
from worker.db.records.audit import AuditTrail
from worker.refresh.attempt import Origin
from worker.runtime import Runtime

_OFFLINE = 'authorize_params={"prompt": "consent"}'


def fields(server: AuthorizationServer, client_id: str = "public", *more: str) -> list[str]:
    return [
        f"token_url={server.token_url}",
        f"authorize_url={server.authorize_url}",
        f"client_id={client_id}",
        "client_auth=none",
        f"scope={SCOPE}",
        _OFFLINE,
        *more,
    ]


def said_until(stream: IO[str], sign: str) -> str:
    """Read lines until one begins with this, and give that one."""
    for line in stream:
        if line.startswith(sign):
            return line.strip()
    raise AssertionError(f"the command ended without a line that begins with {sign!r}")


def refreshed(deployment: Deployment, account: str) -> str:
    """Refresh an account as a worker does; returns the outcome."""
    runtime = Runtime(deployment.settings, worker="test")
    try:
        pairs = [(account, _generation(deployment, account))]
        found = runtime.run(runtime.refresher.refresh(pairs, Origin(Trigger.FORCED)))
    finally:
        runtime.close()
    return found[account].outcome.value


def _generation(deployment: Deployment, account: str) -> int:
    with Reader.from_url(deployment.environment["REFRESHD_REDIS_URL"]) as reader:
        return reader.get(account).generation


def test_a_new_account_is_authorized_in_a_browser_published_and_refreshed(
    server: AuthorizationServer, deployment: Deployment
) -> None:
    ran = deployment.refreshd("accounts", "authorize", "acct", *fields(server), "--json", login="alice")

    assert ran.exit_code == 0, ran.stderr
    assert ran.json["account"] == "acct"
    assert ran.json["outcome"] == "added"
    assert ran.json["status"] == "active"
    assert server.authorize_url in ran.stderr
    with Reader.from_url(deployment.environment["REFRESHD_REDIS_URL"]) as reader:
        token = reader.get("acct")
    assert token.scope == SCOPE
    assert token.access_token not in ran.stdout + ran.stderr
    assert refreshed(deployment, "acct") == "refreshed"


def test_an_account_that_is_there_keeps_its_settings_and_counts_on(
    server: AuthorizationServer, deployment: Deployment
) -> None:
    first = deployment.refreshd(
        "accounts", "authorize", "acct", *fields(server, "public", "session_timeout_s=1234"), login="alice"
    )
    assert first.exit_code == 0, first.stderr

    again = deployment.refreshd("accounts", "authorize", "acct", "--json", login="alice")

    assert again.exit_code == 0, again.stderr
    assert again.json["outcome"] == "changed"
    assert again.json["generation"] == 2
    stored = deployment.stored("acct")
    assert stored is not None
    assert stored.session_timeout_s == 1234
    assert refreshed(deployment, "acct") == "refreshed"
    engine = make_engine(deployment.environment["REFRESHD_DATABASE_URL"])
    trail = AuditTrail(engine).own("acct", limit=9)
    engine.dispose()
    details = [json.loads(one.detail) for one in trail]
    later, earlier = [one.pop("consented_at") for one in details]
    assert later > earlier
    assert details == [{"fields": ["access_token", "refresh_token"]}, {}]
    assert {(one.action, one.actor) for one in trail} == {("authorize", current_actor().name)}


def test_a_client_with_a_secret_proves_itself(server: AuthorizationServer, deployment: Deployment) -> None:
    deployment.environment["REFRESHD_ACCOUNT_CLIENT_SECRET"] = SECRET
    words = [*fields(server, "client_secret_basic"), "client_secret"]
    words[words.index("client_auth=none")] = "client_auth=client_secret_basic"

    ran = deployment.refreshd("accounts", "authorize", "acct", *words, login="alice")

    assert ran.exit_code == 0, ran.stderr
    assert SECRET not in ran.stderr


def test_an_owner_who_declines_is_heard_and_nothing_is_stored(
    server: AuthorizationServer, deployment: Deployment
) -> None:
    ran = deployment.refreshd("accounts", "authorize", "acct", *fields(server), login="nobody")

    assert ran.exit_code == 1
    assert "access_denied: End-User aborted interaction" in ran.stderr
    with (
        Reader.from_url(deployment.environment["REFRESHD_REDIS_URL"]) as reader,
        pytest.raises(UnknownAccount),
    ):
        reader.get("acct")
    assert deployment.stored("acct") is None


def test_a_grant_without_a_refresh_token_is_explained_and_not_stored(
    server: AuthorizationServer, deployment: Deployment
) -> None:
    words = [word for word in fields(server) if word != _OFFLINE]

    ran = deployment.refreshd("accounts", "authorize", "acct", *words, login="bob")

    assert ran.exit_code == 1
    assert "offline_access" in ran.stderr
    assert deployment.stored("acct") is None


def test_what_is_missing_is_named_before_anybody_is_asked(deployment: Deployment) -> None:
    ran = deployment.refreshd("accounts", "authorize", "acct", "provider=salesforce-generic", "client_id=c")

    assert ran.exit_code == 2
    assert "provider" in ran.stderr
    assert "://" not in ran.stderr.replace("https://HOST", "")


def test_a_person_on_a_far_machine_brings_the_address(
    server: AuthorizationServer, deployment: Deployment
) -> None:
    ended_at = "http://127.0.0.1:9/callback"
    process = deployment.start(
        "accounts", "authorize", "acct", *fields(server), "--paste", "--redirect-uri", ended_at
    )
    assert process.stderr is not None
    page = said_until(process.stderr, server.authorize_url)
    with Browser("alice") as browser:
        address = browser.open(page, until=ended_at)

    assert process.stdin is not None
    process.stdin.write(f"{ended_at}?code=another&state=foreign\n{address}\n")
    process.stdin.flush()
    ran = deployment.ended(process)

    assert ran.exit_code == 0, ran.stderr
    assert "That is not the answer" in ran.stderr


def test_a_device_code_is_typed_in_elsewhere(server: AuthorizationServer, deployment: Deployment) -> None:
    process = deployment.start(
        *(
            "accounts",
            "authorize",
            "acct",
            f"token_url={server.token_url}",
            f"device_url={server.device_url}",
        ),
        *("client_id=device", "client_auth=none", f"scope={SCOPE}", "--device", "--json"),
    )
    assert process.stderr is not None
    page = said_until(process.stderr, server.issuer)
    with Browser("alice") as browser:
        assert "Sign-in Success" in browser.open(page)

    ran = deployment.ended(process)

    assert ran.exit_code == 0, ran.stderr
    assert ran.json["outcome"] == "added"
    assert refreshed(deployment, "acct") == "refreshed"


def test_ctrl_c_ends_the_wait_cleanly(server: AuthorizationServer, deployment: Deployment) -> None:
    process = deployment.start("accounts", "authorize", "acct", *fields(server))
    assert process.stderr is not None
    said_until(process.stderr, "Waiting for consent")

    process.send_signal(signal.SIGINT)
    ran = deployment.ended(process)

    assert ran.exit_code == 130
    assert ran.stderr.endswith("Nothing was stored.\n")
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_what_the_redirect_tells_of_the_account_is_kept(
    server: AuthorizationServer, deployment: Deployment
) -> None:
    words = [*fields(server), 'redirect_fields={"iss": "issuer"}']

    assert deployment.refreshd("accounts", "authorize", "acct", *words, login="alice").exit_code == 0

    stored = deployment.stored("acct")
    assert stored is not None
    sealer = AccountSealer(load_cipher(deployment.settings))
    assert sealer.custom_fields(stored)["issuer"].reveal() == server.issuer
