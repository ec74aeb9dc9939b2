"""PyPI's `canaille` with its store in memory. Its refresh tokens rotate, and end when their access token does.

POST /oauth/token is the package's own endpoint; POST /grant gives a new person's tokens, by the package's password
grant; GET /oauth/userinfo takes a bearer token.
"""

import os
import secrets
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from canaille import create_app
from canaille.app import models
from canaille.app.flask import csrf
from canaille.backends import Backend
from flask import Response

CLIENT_ID, CLIENT_SECRET = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
LIFETIME_S = int(os.environ["ACCESS_TOKEN_S"])
GRANTS = ("password", "refresh_token")

app = create_app(
    {
        "SECRET_KEY": "a key of these tests alone",
        # Without it, a wrong secret is answered with 500: `KeyError: 'client_assertion_jwt'`.
        "SERVER_NAME": f"127.0.0.1:{os.environ['PORT']}",
        "OAUTH2_TOKEN_EXPIRES_IN": dict.fromkeys(GRANTS, LIFETIME_S),
        "CANAILLE": {"DATABASE": "memory", "LOGGING": {"version": 1, "disable_existing_loggers": True}},
    }
)


def person() -> dict[str, str]:
    """Make somebody, and the request that gives their tokens to the client."""
    name, password = secrets.token_hex(8), secrets.token_hex(8)
    user = models.User(user_name=name, family_name=name, emails=[f"{name}@example.com"], password=password)
    Backend.instance.save(user)
    return {"username": name, "password": password}


@app.post("/grant")
@csrf.exempt
def grant() -> Response:
    form = {"grant_type": "password", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **person()}
    return app.test_client().post("/oauth/token", data={**form, "scope": "openid profile"})


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


if __name__ == "__main__":
    with app.app_context():
        client = models.Client(
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            client_name="refreshd",
            grant_types=list(GRANTS),
            response_types=["code"],
            redirect_uris=["http://127.0.0.1/callback"],
            scope=["openid", "profile"],
            token_endpoint_auth_method="client_secret_post",
        )
        Backend.instance.save(client)
    running = make_server("127.0.0.1", int(os.environ["PORT"]), app, Server, Quiet)
    print("listening", flush=True)
    running.serve_forever()
