"""Settings that would not do what they say are refused, by name, and without their value."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import SettingsError
from worker.settings import load_settings


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
