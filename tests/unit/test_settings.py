"""Settings that would not do what they say are refused, by name, and without their value."""

from __future__ import annotations

from pathlib import Path
from typing import Final, get_args

import pytest
from pydantic import SecretStr

from worker.errors import SettingsError
from worker.settings import Settings, load_settings


@pytest.mark.parametrize(
    "login", ["operator", ":pass-word", "operator:", "operator:pass,word", "operator:pässword"]
)
def test_a_login_of_flower_s_that_would_not_hold_is_refused(
    login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_FLOWER_BASIC_AUTH", login)
    with pytest.raises(SettingsError, match=r"^REFRESHD_FLOWER_BASIC_AUTH: is not user:password") as refused:
        load_settings()
    assert "word" not in str(refused.value).replace("password", "")


@pytest.mark.parametrize("login", ["operator:pass:word", "operator:one,colleague:two"])
def test_a_login_of_flower_s_may_be_one_of_several(login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFRESHD_FLOWER_BASIC_AUTH", login)
    given = load_settings().flower_basic_auth
    assert given is not None
    assert given.get_secret_value() == login


def test_an_env_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"\xfa")
    with pytest.raises(SettingsError, match=r"^\.env is not UTF-8 text"):
        load_settings(_env_file=file)


def test_what_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFRESHD_WEBHOOK_TYPES", "expiring,\udc9f")
    with pytest.raises(SettingsError, match=r"^REFRESHD_WEBHOOK_TYPES: '\\udc9f' is none of reauthorize"):
        load_settings()


#: Settings that are a secret or may hold one, each with a value that could be one.
SECRETS: Final = {
    "database_url": "postgresql://user:mkshown@host/database",
    "redis_url": "redis://user:mkshown@host:6379/0",
    "flower_basic_auth": "operator:mkshown",
    "keys": "k1:mkshown",
    "publish_keys": f"p1:mkshown{'A' * 36}=",
}


def test_no_dump_of_the_settings_shows_a_secret() -> None:
    settings = load_settings(**{name: SecretStr(text) for name, text in SECRETS.items()})
    assert "mkshown" in settings.redis
    assert settings.token_seal is not None
    shown = (
        *(repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()),
        repr(vars(settings)),
    )
    assert "mkshown" not in "".join(shown)


def test_what_is_named_like_a_secret_is_a_secret_type() -> None:
    words = ("password", "secret", "keys", "_auth", "redis_url", "database_url")
    clear = [
        name
        for name, field in Settings.model_fields.items()
        if any(word in name for word in words)
        and not name.endswith("_file")
        and SecretStr not in (field.annotation, *get_args(field.annotation))
    ]
    assert clear == []
