"""docs/client-authentication.md: each example is stored as it stands, and sends what the page says."""

from __future__ import annotations

import base64
import re
import shlex
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jws

from models.providers import ClientAuth
from tests.integration.accounts.conftest import Refreshd
from tests.support.providers.certificates import Authority
from tests.support.providers.provider_double import NOW, account, provider
from worker.cli.accounts._fields import fields_of
from worker.providers.request.builder import RequestBuilder

PAGE: Final = (Path(__file__).parents[3] / "docs/client-authentication.md").read_text()
#: A secret that form-encoding changes.
SECRET: Final = "s3cret+of a client, 32 letters long"
FORM: Final = {"grant_type": "refresh_token", "refresh_token": "RT-1"}
ID: Final = {**FORM, "client_id": "ID"}


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


#: Parameters, the Authorization header, and the header of a signed JWT.
EXPECTED: Final[dict[ClientAuth, tuple[dict[str, str], str, dict[str, str] | None]]] = {
    ClientAuth.BODY: ({**ID, "client_secret": SECRET}, "", None),
    ClientAuth.BASIC: (FORM, basic("ID:s3cret%2Bof+a+client%2C+32+letters+long"), None),
    ClientAuth.BASIC_RAW: (FORM, basic(f"ID:{SECRET}"), None),
    ClientAuth.NONE: (ID, "", None),
    ClientAuth.PRIVATE_KEY_JWT: (ID, "", {"alg": "RS256", "kid": "key-1"}),
    ClientAuth.CLIENT_SECRET_JWT: (ID, "", {"alg": "HS256"}),
    ClientAuth.HEADER: (FORM, basic(f"{SECRET}:"), None),
    ClientAuth.MTLS: (ID, "", None),
    ClientAuth.BEARER_JWT: (FORM, "", {"alg": "RS256"}),
}


def example(way: str) -> tuple[str, dict[str, Any]]:
    """Return a section's command, and its entry of a providers file."""
    [section] = re.findall(rf"^## {way}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    return blocks["sh"].replace("\\\n", " "), yaml.safe_load(blocks.get("yaml", "{}")) or {}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def desk_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Path:
    """Return a folder that has the files which the examples name."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    contents = {
        "refresh.txt": "RT-1",
        "secret.txt": SECRET,
        "client.pem": pem,
        "client.crt": authority.certificate,
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_every_way() -> None:
    assert set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE)) == {way.value for way in ClientAuth}


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("way", list(ClientAuth))
def test_an_example_is_stored_and_sends_what_the_page_says(
    way: ClientAuth, desk_folder: Path, refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, entry = example(way.value)
    if entry:
        (desk_folder / "providers.yaml").write_text(yaml.safe_dump(entry))
        monkeypatch.setenv("REFRESHD_PROVIDERS_FILE", str(desk_folder / "providers.yaml"))
    _refreshd, *words = shlex.split(command)
    assert refreshd(*words).exit_code == 0

    fields = fields_of(words[3:])
    custom = {
        name.partition(".")[2]: fields.pop(name) for name in list(fields) if name.startswith("custom_fields.")
    }
    asked = account(
        provider(**{"name": "acme", **entry.get("acme", {})}),
        **{"client_secret": None, **{name: fields[name] for name in fields if name != "provider"}},
        custom=custom,
    )
    wire = RequestBuilder([]).build(asked, now=NOW)
    sent, header = dict(parse_qsl(wire.content.decode())), wire.headers.get("authorization", "")
    sent.pop("client_assertion_type", None)
    signed = sent.pop("client_assertion", "") or header.removeprefix("Bearer ")
    parameters, authorization, signature = EXPECTED[way]
    assert sent == parameters
    assert (wire.certificate is not None) == (way is ClientAuth.MTLS)
    if signature is None:
        assert header == authorization
    else:
        assert jws.extract_compact(signed.encode()).headers() == {"typ": "JWT"} | signature
