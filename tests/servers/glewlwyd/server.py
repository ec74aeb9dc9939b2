"""Debian's `glewlwyd`, unpacked: its plugin of OpenID Connect, with refresh tokens for one use.

POST /api/oidc/token on PORT is the package's own endpoint; POST /grant on GRANT_PORT gives a new person's tokens, by the
package's password grant; GET /api/oidc/userinfo takes a bearer token.
"""

import gzip
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

PORT = int(os.environ["PORT"])
URL = f"http://127.0.0.1:{PORT}"
CLIENT = {"client_id": os.environ["CLIENT_ID"], "client_secret": os.environ["CLIENT_SECRET"]}
ROOT = Path("root").resolve()
MODULES = ROOT / "usr/lib/glewlwyd"
START_S = 20.0

#: Keeps an administrator's session.
browser = httpx.Client(trust_env=False)


def configure() -> None:
    Path("glewlwyd.db").unlink(missing_ok=True)
    schema = ROOT / "usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz"
    with sqlite3.connect("glewlwyd.db") as database:
        database.executescript(gzip.decompress(schema.read_bytes()).decode())
    settings = {
        "bind_address": "127.0.0.1",
        "external_url": URL,
        "login_url": "login.html",
        "api_prefix": "api",
        "log_mode": "console",
        "log_level": "ERROR",
        "cookie_domain": "127.0.0.1",
        "session_key": "SESSION",
        "admin_scope": "g_admin",
        "profile_scope": "g_profile",
        "hash_algorithm": "SHA512",
        "user_module_path": f"{MODULES}/user",
        "user_middleware_module_path": f"{ROOT}",
        "client_module_path": f"{MODULES}/client",
        "user_auth_scheme_module_path": f"{MODULES}/scheme",
        "plugin_module_path": f"{MODULES}/plugin",
    }
    lines = [f'{name}="{value}"' for name, value in settings.items()]
    lines += [f"port={PORT}", "cookie_secure=0", "session_expiration=86400"]
    lines.append('database = { type = "sqlite3"; path = "glewlwyd.db"; };')
    Path("glewlwyd.conf").write_text("\n".join(lines) + "\n")


def post(path: str, **body: object) -> None:
    browser.post(f"{URL}/api{path}", json=body).raise_for_status()


def prepare() -> None:
    """Make the client and the plugin, as the administrator that its database begins with."""
    post("/auth/", username="admin", password="password")
    post("/scope/", name="read", password_required=True, scheme={})
    post(
        "/client/",
        **CLIENT,
        password=CLIENT["client_secret"],
        name="refreshd",
        confidential=True,
        enabled=True,
        authorization_type=["password", "refresh_token"],
        token_endpoint_auth_method=["client_secret_post"],
        redirect_uri=["http://127.0.0.1/callback"],
        scope=[],
    )
    parameters = {
        "iss": URL,
        "jwt-type": "sha",
        "jwt-key-size": "256",
        "key": "a key of these tests alone",
        "access-token-duration": int(os.environ["ACCESS_TOKEN_S"]),
        "refresh-token-duration": 86400,
        "code-duration": 600,
        "refresh-token-rolling": False,
        "refresh-token-one-use": os.environ.get("ONE_USE", "always"),
        "allow-non-oidc": True,
        "auth-type-password-enabled": True,
        "auth-type-refresh-enabled": True,
        "client-secret-parameter": "client_secret",
        "subject-type": "public",
    }
    post("/mod/plugin/", module="oidc", name="oidc", display_name="oidc", parameters=parameters)


def grant() -> bytes:
    person = {"username": secrets.token_hex(8), "password": secrets.token_hex(8)}
    post("/user/", **person, scope=["read"], enabled=True)
    form = {"grant_type": "password", "scope": "read", **person, **CLIENT}
    return browser.post(f"{URL}/api/oidc/token", data=form).raise_for_status().content


class Grants(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = grant()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


def started(server: "subprocess.Popen[bytes]") -> bool:
    ends_at = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < ends_at:
        try:
            browser.get(f"{URL}/api/")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return True
    return False


if __name__ == "__main__":
    configure()
    libraries = ":".join(str(path) for path in (ROOT / "usr/lib").glob("*-linux-gnu*"))
    server = subprocess.Popen(
        [ROOT / "usr/bin/glewlwyd", "--config-file=glewlwyd.conf"],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if not started(server):
            sys.exit("glewlwyd did not start")
        prepare()
        grants = ThreadingHTTPServer(("127.0.0.1", int(os.environ["GRANT_PORT"])), Grants)
        print("listening", flush=True)
        grants.serve_forever()
    finally:
        server.terminate()
        server.wait()
