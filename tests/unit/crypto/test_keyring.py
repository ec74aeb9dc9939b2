"""Keys from a variable, a file or a command: one of the three, and an error that shows no key."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from models.token import Secret
from worker.crypto import command
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.crypto.keyring import keys_of_command, keys_of_file, load_cipher, make_key
from worker.errors import KeyMissing, SettingsError
from worker.local.stack import Stack
from worker.settings import Settings, load_settings

KEY = generate_key("k7")
OLDER = generate_key("k6")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"{KEY}\n{OLDER}\n")
    path.chmod(0o600)
    return path


def python(code: str) -> str:
    return f'{sys.executable} -c "{code}"'


def test_a_file_and_a_command_give_what_the_variable_would(file: Path, tmp_path: Path) -> None:
    from_file = load_cipher(Settings(keys_file=file, data_dir=tmp_path))
    from_command = load_cipher(Settings(keys_command=SecretStr(f"cat '{file}'"), data_dir=tmp_path))

    assert from_file.key_ids == from_command.key_ids == ("k7", "k6")
    assert from_file.writing_key == "k7"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_file_that_its_owner_or_its_group_reads_is_taken(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert KEY in keys_of_file(file)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602, 0o604])
def test_a_file_that_others_read_or_change_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(SettingsError, match=rf"has mode 0{mode:o}.*chmod 600"):
        keys_of_file(file)


def test_on_a_read_only_mount_as_orchestrators_make_it_the_mode_is_theirs(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.chmod(0o444)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert KEY in keys_of_file(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe", "not text; expected ID:BASE64"), (b"k" * 100_000, "longer than 65,536 bytes")],
    ids=["binary", "endless"],
)
def test_a_file_that_holds_no_keys_is_named(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        keys_of_file(file)


def test_a_key_of_a_file_that_is_none_is_named_by_its_source_and_place(file: Path, tmp_path: Path) -> None:
    file.write_text(f"{KEY}\nk6:AAAA\n")
    with pytest.raises(SettingsError, match=r"REFRESHD_KEYS_FILE \(.*\), key 2 \(k6\): has 3 bytes"):
        load_cipher(Settings(keys_file=file, data_dir=tmp_path))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-command-here", "no-such-command-here can't be run: No such file"),
        ("'unclosed", "can't be split into words"),
        ("#", "# can't be run"),
        (python("import sys; sys.exit(3)"), r"ended with exit code 3$"),
        (python("import sys; sys.stdout.buffer.write(bytes([255]))"), "not text; expected ID:BASE64"),
    ],
)
def test_a_command_that_gives_no_keys_is_named(command: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        keys_of_command(command)


def test_a_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(SettingsError, match=r"did not end within 0.2 s"):
        keys_of_command(python("import time; time.sleep(60)"))


def test_a_failed_command_s_complaint_shows_no_key_and_no_token() -> None:
    token = "hvs." + "A1b2C3d4E5f6G7h8" * 3
    secret = KEY.partition(":")[2]
    code = f"import sys; print('{KEY}'); print('permission denied for {token} {secret} {KEY}', file=sys.stderr); sys.exit(2)"

    with pytest.raises(SettingsError) as raised:
        keys_of_command(python(code))

    assert "exit code 2: permission denied" in str(raised.value)
    assert secret not in str(raised.value)
    assert "A1b2" not in str(raised.value)


def test_no_shell_reads_the_command() -> None:
    assert keys_of_command("echo $HOME; `id` > x").strip() == "$HOME; `id` > x"


@pytest.mark.parametrize("second", ["KEYS_FILE", "KEYS_COMMAND"])
def test_two_sources_are_one_too_many(second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFRESHD_KEYS", KEY)
    monkeypatch.setenv(f"REFRESHD_{second}", "/run/secrets/refreshd")
    with pytest.raises(
        SettingsError, match=rf"REFRESHD_KEYS and REFRESHD_{second} are set: keys come from one"
    ) as raised:
        load_settings()
    assert KEY.partition(":")[2] not in str(raised.value)


def test_without_a_key_postgresql_is_refused_and_the_ways_are_named(tmp_path: Path) -> None:
    wanted = Settings(database_url=SecretStr("postgresql://u:p@h/d"), data_dir=tmp_path)
    with pytest.raises(SettingsError, match=r"keys generate.*REFRESHD_KEYS_FILE.*REFRESHD_KEYS_COMMAND"):
        load_cipher(wanted)


def test_a_key_that_was_made_stays_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    of = Settings(data_dir=tmp_path / "data")
    first = make_key(of).read_text()

    assert make_key(of).read_text() == first
    assert make_key(of).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in of.data_dir.iterdir()] == ["keys"]


def test_the_folder_s_own_keys_open_what_they_sealed_after_others_were_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` makes a key in the data folder; `make env` then writes another one into `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFRESHD_KEYS", raising=False)
    made = load_cipher(load_settings())
    sealed = made.seal(Secret("x"), account="a", field="f")
    (tmp_path / ".env").write_text(f"REFRESHD_KEYS={KEY}\n")
    later = load_cipher(load_settings())
    assert later.key_ids == ("k7", made.writing_key)
    assert later.open(sealed, account="a", field="f") == Secret("x")
    assert Stack(load_settings()).find_keys().detail == "REFRESHD_KEYS, and behind it this folder's keys"
    lost = Cipher(parse_keys(OLDER)).seal(Secret("x"), account="a", field="f")
    with pytest.raises(KeyMissing) as missing:
        later.open(lost, account="a", field="f")
    folder_file = load_settings().made_keys_file
    assert f"is not configured in REFRESHD_KEYS in .env or {folder_file}" in str(missing.value)
    (tmp_path / ".env").write_text("REFRESHD_KEYS=k1:AAAA\n")
    with pytest.raises(SettingsError, match=r"^REFRESHD_KEYS in \.env, key 1 \(k1\): "):
        load_cipher(load_settings())


def test_a_folder_s_key_that_is_set_too_is_there_once_and_as_it_is_set(tmp_path: Path) -> None:
    of = Settings(keys=SecretStr(KEY), data_dir=tmp_path)
    (tmp_path / "keys").write_text(generate_key("k7"))
    assert load_cipher(of).key_ids == ("k7",)
    assert Stack(of).find_keys().detail == "REFRESHD_KEYS"
    (tmp_path / "keys").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"/keys, key 1: not a key"):
        load_cipher(of)
