"""PyPI's `django-oauth-toolkit` in one file, with SQLite: refresh tokens rotate, and a spent one used again ends the grant.

POST /o/token/ is the package's own endpoint; POST /grant gives a new person's tokens; GET /resource is behind the
package's own check of bearer tokens.
"""

import os
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

LIFETIME_S = int(os.environ["ACCESS_TOKEN_S"])
DATABASE = Path("server.db").resolve()
DATABASE.unlink(missing_ok=True)

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE,
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    },
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_EXPIRE_SECONDS": LIFETIME_S,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
    },
    # It keeps a hash of the client's secret, which each request pays for: with Django's own a second of CPU.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF="server",
    SECRET_KEY="a key of these tests alone",
    USE_TZ=True,
)
sys.modules["server"] = sys.modules[__name__]
django.setup()

from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.decorators import protected_resource
from oauth2_provider.models import AccessToken, Application, RefreshToken


@csrf_exempt
def grant(request: HttpRequest) -> HttpResponse:
    user = User.objects.create(username=secrets.token_hex(8))
    application = Application.objects.get()
    access = AccessToken.objects.create(
        user=user,
        application=application,
        token=secrets.token_hex(16),
        expires=timezone.now() + timedelta(seconds=LIFETIME_S),
        scope="read",
    )
    refresh = RefreshToken.objects.create(
        user=user, application=application, token=secrets.token_hex(16), access_token=access
    )
    return JsonResponse(
        {"access_token": access.token, "refresh_token": refresh.token, "expires_in": LIFETIME_S}
    )


@protected_resource()
def resource(request: HttpRequest) -> HttpResponse:
    return JsonResponse({})


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("grant", grant),
    path("resource", resource),
]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    Application.objects.create(
        name="refreshd",
        client_id=os.environ["CLIENT_ID"],
        client_secret=os.environ["CLIENT_SECRET"],
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris="http://127.0.0.1/callback",
    )
    running = make_server("127.0.0.1", int(os.environ["PORT"]), WSGIHandler(), Server, Quiet)
    print("listening", flush=True)
    running.serve_forever()
