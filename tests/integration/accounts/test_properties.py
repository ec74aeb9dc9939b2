"""Properties files, as webMethods' configuration variables are: one account for each prefix."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Refreshd
from worker.accounts.formats.properties import properties_rows
from worker.accounts.formats.row import Raw, UnreadableFile

TEMPLATE = """\
# configuration variables of two connections
cloudstreams.connection.crm.oauth.consumerId=consumer
cloudstreams.connection.crm.oauth.consumerSecret=a\\=b\\\\c
cloudstreams.connection.crm.oauth.accessToken = access
cloudstreams.connection.crm.oauth_v20.refreshToken: refresh-\\
    of-two-lines
cloudstreams.connection.crm.oauth_v20.accessTokenRefreshURL=https\\://login.example/token
cloudstreams.connection.crm.oauth_v20.refreshAccessToken=true
cloudstreams.connection.crm.oauth_v20.accessTokenRefreshURLRequest=URL Query String
cloudstreams.connection.crm.cm.timeoutType=fixed
cloudstreams.connection.crm.cm.sessionExpiry=20
cloudstreams.connection.crm.cn.providerUrl=https\\://api.example
cloudstreams.connection.crm.cn.maxPoolConnections=25
cloudstreams.connection.crm.cr.authorizationType=Bearer

! another one, whose name has a space and a colon
my\\ folder\\:crm2.oauth.consumerId=c2
my\\ folder\\:crm2.provider=google
my\\ folder\\:crm2.oauth_v20.refreshToken=\\u0072efresh-2
"""


def rows(text: str) -> list[Raw]:
    return list(properties_rows(BytesIO(text.encode()), "file"))


def test_each_prefix_is_an_account_and_what_is_no_column_is_named() -> None:
    first, second = rows(TEMPLATE)
    assert first.line == 2
    assert first.row == {
        "id": "cloudstreams.connection.crm",
        "oauth.consumerId": "consumer",
        "oauth.consumerSecret": "a=b\\c",
        "oauth.accessToken": "access",
        "oauth_v20.refreshToken": "refresh-of-two-lines",
        "oauth_v20.accessTokenRefreshURL": "https://login.example/token",
        "oauth_v20.refreshAccessToken": "true",
        "oauth_v20.accessTokenRefreshURLRequest": "URL Query String",
        "cm.timeoutType": "fixed",
        "cm.sessionExpiry": "20",
        "cn.providerUrl": "https://api.example",
    }
    assert first.left_out == ("cn.maxPoolConnections", "cr.authorizationType")
    assert second.row == {
        "id": "my-folder:crm2",
        "oauth.consumerId": "c2",
        "provider": "google",
        "oauth_v20.refreshToken": "refresh-2",
    }


def test_the_administration_pages_own_names_are_known_too() -> None:
    (raw,) = rows(
        "id=crm\nCPROP$oauth_v20$Basic$oauth_v20.refreshToken=r\nCPROP$connection$Basic$cn.providerUrl=u\n"
    )
    assert raw.row == {"id": "crm", "oauth_v20.refreshToken": "r", "cn.providerUrl": "u"}


@pytest.mark.parametrize("value", ["$secret{CRM_TOKEN}", "$env{CRM_TOKEN}", "{AES}abc="])
def test_a_value_that_stands_elsewhere_is_an_error_of_its_account(value: str) -> None:
    broken, fine = rows(f"a.oauth_v20.refreshToken={value}\nb.oauth_v20.refreshToken=r\n")
    assert broken.row is None
    assert broken.reason.startswith("oauth_v20.refreshToken: its value stands elsewhere")
    assert value not in broken.reason
    assert fine.row == {"id": "b", "oauth_v20.refreshToken": "r"}


def test_a_key_that_stands_there_twice_is_an_error() -> None:
    (raw,) = rows("a.oauth.consumerId=1\na.oauth.consumerId=2\n")
    assert raw.reason == "oauth.consumerId: is given twice"


@pytest.mark.parametrize("text", ["spring.port=80\nserver.name=x\n", "word\n"])
def test_a_file_without_a_column_is_none(text: str) -> None:
    with pytest.raises(UnreadableFile, match="no line names a column"):
        rows(text)


def test_without_a_prefix_the_id_is_missed_by_the_import() -> None:
    (raw,) = rows("oauth.consumerId=c\n")
    assert raw.row == {"oauth.consumerId": "c"}


def test_an_empty_file_names_no_accounts() -> None:
    assert rows("# nothing\n\n") == []


def test_no_text_is_said_so() -> None:
    with pytest.raises(UnreadableFile, match="not UTF-8"):
        list(properties_rows(BytesIO(b"a.oauth.consumerId=\xff\n"), "file"))


def test_a_template_is_imported_with_its_minutes_and_its_default(
    refreshd: Refreshd, file: Callable[..., Path]
) -> None:
    extra = "off.oauth_v20.accessTokenRefreshURL=https://login.example/\noff.oauth_v20.refreshAccessToken=\n"
    path = file(TEMPLATE + extra, name="application.properties")

    ran = refreshd("accounts", "import", str(path), "--json")

    assert (ran.json["added"], ran.json["failed"]) == (2, 1), ran.json
    assert ran.json["errors"][0]["account"] == "my-folder:crm2"  # it has no secret, which Google wants
    assert {one["field"] for one in ran.json["left_out"]} == {"cn.maxPoolConnections", "cr.authorizationType"}
    shown = refreshd("accounts", "show", "cloudstreams.connection.crm", "--json").json
    assert shown["session_timeout_s"] == 1200
    assert shown["refresh_method"] == "url_query"
    assert refreshd("accounts", "show", "off", "--json").json["refresh_enabled"] is False


def test_properties_are_not_written(refreshd: Refreshd, tmp_path: Path) -> None:
    ran = refreshd("accounts", "export", str(tmp_path / "a.properties"))
    assert ran.exit_code == 2
    assert "properties are only read" in ran.stderr
    assert refreshd("accounts", "export", "--format", "properties").exit_code == 2
    assert "csv (or one of the endings" in refreshd("accounts", "export", str(tmp_path / "a.xyz")).stderr
    assert "is a folder; name a file in it" in refreshd("accounts", "import", str(tmp_path)).stderr
    listed = refreshd("accounts", "export", "--help").stdout
    assert "propertie" not in listed  # a narrow table breaks the word
