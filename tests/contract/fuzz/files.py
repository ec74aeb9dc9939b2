"""What operators and integrators write: accounts files, settings, descriptions of providers and callbacks."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final
from unittest import mock

from hypothesis import strategies as st

from models.callback_file import CallbackFileError, load_callback_file
from models.providers.presets import PresetError, load_presets, load_providers
from tests.contract.fuzz.mutation import Check, Target, mutated
from tests.integration.accounts.conftest import KEY, NOW, AccountServices
from worker.accounts.columns import KNOBS, OF_THE_TOKEN
from worker.accounts.columns import SETTINGS as SETTING_COLUMNS
from worker.accounts.entry import RowRefused, id_of, read_entry
from worker.accounts.formats.row import Raw, UnreadableFile
from worker.accounts.formats.source import Format, Source
from worker.crypto.cipher import Cipher, parse_keys
from worker.crypto.sealer import AccountSealer
from worker.errors import SettingsError
from worker.settings import Settings, load_settings

MARK: Final = "mark-of-a-secret-0451"
CORPUS: Final = Path(__file__).parent / "corpus"
_EXAMPLES: Final = Path(__file__).parents[3] / "examples"
_FORMATS: Final = {
    Format.JSONL: (*_EXAMPLES.glob("accounts.jsonl"), *CORPUS.glob("*.jsonl"), *CORPUS.glob("*.json")),
    Format.YAML: (*_EXAMPLES.glob("accounts.yaml"), *CORPUS.glob("accounts*.yaml")),
    Format.CSV: (*_EXAMPLES.glob("accounts.csv"), *CORPUS.glob("*.csv")),
    Format.PROPERTIES: tuple(CORPUS.glob("*.properties")),
}
_SECRET_COLUMNS: Final = ("client_secret", "access_token", "refresh_token", "custom_fields.pin")

words = st.text(max_size=30) | st.sampled_from(
    ["", " ", "true", "0", "-1", "1e400", "callback", "\ud800", "${client_id}"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
rows = st.builds(
    lambda settings, secrets, around: {
        **settings,
        **dict.fromkeys(secrets, f"{around}{MARK}{around[::-1]}"),
    },
    st.dictionaries(
        st.sampled_from([*SETTING_COLUMNS, *OF_THE_TOKEN, *KNOBS, "custom_fields"]) | words,
        values,
        max_size=8,
    ),
    st.sets(st.sampled_from(_SECRET_COLUMNS), min_size=1),
    st.sampled_from(["", "x", '"', "\n", "{", "\0"]),
)
files = st.one_of(
    *[
        st.tuples(st.just(wanted), mutated([path.read_bytes() for path in paths]))
        for wanted, paths in _FORMATS.items()
    ]
)


@contextmanager
def accounts() -> Iterator[Check]:
    desk = AccountServices(AccountSealer(Cipher(parse_keys(KEY))))

    def apply(row: Mapping[str, object], *, cells: bool) -> str:
        id_of(row)
        try:
            desk.applier.add(read_entry(row, cells=cells), retired=0, now=NOW)
        except RowRefused as refused:
            return str(refused)
        return ""

    def check(case: tuple[Format, bytes] | dict[str, object]) -> None:
        if isinstance(case, dict):
            said = apply({"id": "a", "provider": "google", **case}, cells=False)
            assert MARK not in said, said
            return
        wanted, content = case
        with suppress(UnreadableFile):
            for raw in Source(io.BytesIO(content), "file", wanted, len(content)).rows():
                assert isinstance(raw, Raw)
                assert (raw.row is None) == bool(raw.reason)
                if raw.row is not None:
                    apply(raw.row, cells=raw.cells)

    yield check


_SECRET_SETTINGS: Final = ("KEYS", "PUBLISH_KEYS", "DATABASE_URL", "REDIS_URL", "FLOWER_BASIC_AUTH")
_GOOD_SETTINGS: Final = (
    "k1:" + "A" * 43 + "=",
    "redis://u:p@h:1/0",
    "postgresql://u:p@h/d",
    "user:password",
    "30",
    "a,b",
)
setting_values = (
    st.sampled_from(_GOOD_SETTINGS)
    | mutated([text.encode() for text in _GOOD_SETTINGS]).map(
        lambda raw: raw.decode("utf-8", "surrogateescape").replace("\0", "")
    )
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
)
environments = st.builds(
    lambda plain, secret, around: {**plain, **dict.fromkeys(secret, f"{around}{MARK}")},
    st.dictionaries(
        st.sampled_from(sorted(name.upper() for name in Settings.model_fields)), setting_values, max_size=4
    ),
    st.sets(st.sampled_from(_SECRET_SETTINGS), max_size=2),
    st.sampled_from(["", "k1:", "redis://:", "postgresql://u:", "p1:AAAA,", ":"]),
)
descriptions = st.tuples(
    st.sampled_from(["env", "providers", "callbacks"]),
    mutated([path.read_bytes() for pattern in ("*.env", "providers*", "callbacks*") for path in sorted(CORPUS.glob(pattern))]),
)  # fmt: skip


@contextmanager
def settings() -> Iterator[Check]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    # The built-in providers take a second to read, each time.
    built_in = mock.patch("models.providers.presets.load_presets", cache(load_presets))
    with tempfile.TemporaryDirectory() as folder, built_in:
        file = Path(folder, "file")

        def read(environment: Mapping[str, str], env_file: Path | None) -> str:
            with mock.patch.dict(os.environ, {**clean, **environment}, clear=True):
                try:
                    found = load_settings(_env_file=env_file)
                    if found.keys is not None:
                        parse_keys(found.keys.get_secret_value())
                except SettingsError as error:
                    return str(error)
            assert MARK not in repr(found)
            return ""

        def check(case: dict[str, str] | tuple[str, bytes]) -> None:
            if isinstance(case, dict):
                said = read({f"REFRESHD_{name}": value for name, value in case.items()}, None)
                assert MARK not in said, said
                return
            kind, content = case
            file.write_bytes(content)
            if kind == "env":
                read({}, file)
            elif kind == "providers":
                with suppress(PresetError):
                    load_providers(file)
            else:
                with suppress(CallbackFileError):
                    load_callback_file(file)

        yield check


ACCOUNTS: Final = Target(files | rows, accounts)
SETTINGS: Final = Target(environments | environments | descriptions, settings)
