"""Providers from YAML: one's own over the built-in ones, and mistakes that are named."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from models.providers import ClientAuth, Provider
from models.providers.presets import PresetError, _BuiltIn, load_presets, load_providers


def own(folder: Path, text: str) -> Path:
    path = folder / "providers.yaml"
    path.write_text(text)
    return path


def test_the_built_in_presets_can_be_read_and_name_their_sources() -> None:
    presets = load_presets()
    assert presets["generic"].token_url is None
    assert all(preset.sources for preset in presets.values())
    assert all(preset.name == name for name, preset in presets.items())


@pytest.mark.parametrize("name", list(load_presets()))
def test_a_preset_that_is_read_by_itself_is_the_one_that_all_together_give(name: str) -> None:
    alone = _BuiltIn()
    assert alone[name] == together()[name]
    assert "_all" not in vars(alone), "all of them were read for one"


def test_many_presets_are_read_together() -> None:
    presets = _BuiltIn()
    for name in reversed(list(presets)):
        assert presets[name].name == name
    assert "_all" in vars(presets)
    assert len(presets._alone) < 20


def test_a_name_that_no_preset_has_is_none() -> None:
    assert "nonsense" not in load_presets()
    assert load_presets().get(".code") is None


@cache
def together() -> dict[str, Provider]:
    """Return the presets as they are where the whole file is read at once."""
    return {**_BuiltIn()._all}


def test_the_names_of_the_presets_are_those_of_all_together_and_in_their_order() -> None:
    presets = _BuiltIn()
    names = list(presets)
    assert not presets._alone
    assert "_all" not in vars(presets), "all of them were read for their names"
    assert names == list(presets._all)
    assert len(presets) == len(names)


def test_an_entry_of_a_built_ins_name_changes_it(tmp_path: Path) -> None:
    providers = load_providers(
        own(tmp_path, "xero:\n  margin_s: 60\nmine:\n  token_url: https://m.example.com/t\n")
    )
    assert (providers["xero"].margin_s, providers["xero"].client_auth) == (60, ClientAuth.BASIC)
    assert providers["mine"].token_url == "https://m.example.com/t"
    assert "google" in providers


def test_an_entry_can_extend_another_wherever_it_stands(tmp_path: Path) -> None:
    text = "c: {extends: b, max_in_flight: 3}\nb: {extends: xero, margin_s: 60}\nxero: {extends: xero, requests_per_s: 1}\n"
    providers = load_providers(own(tmp_path, text))
    c = providers["c"]
    assert (c.name, c.max_in_flight, c.margin_s, c.requests_per_s, c.replay_grace_s) == ("c", 3, 60, 1, 1800)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: {margin_s: soon}", "a.margin_s: Input should be a valid number"),
        ("a: {response: {nope: x}}", "a.response.nope: Extra inputs"),
        ("A b: {}", "A b.name: String should match pattern"),
        ("a: {extends: nobody}", "a.extends: there is no provider 'nobody'"),
        ("a: {extends: b}\nb: {extends: a}", "a.extends: it leads back to itself"),
        ("a: 5", "a: not a mapping; expected options"),
        ("- a", "expected provider names"),
        ("a: {}\na: {}", "'a' stands twice"),
        ("a: {margin_s: 1, margin_s: 2}", "'margin_s' stands twice"),
        ("a: [", "expected"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("? [a]\n: {}", "unhashable"),
        ("a: {notes: 2026-13-45}", "month must be in 1..12"),
        pytest.param("a: " + "[" * 900, "it is nested more than 100 deep", id="brackets without end"),
        # Of libyaml itself since the one in PyYAML 6.0.4: it reads ahead to a bracket's end, 1,000 deep at most.
        pytest.param("a: " + "[" * 100_000, "increasing flow level", id="brackets that libyaml refuses"),
        pytest.param("- " * 100_000 + "a", "it is nested more than 100 deep", id="dashes without end"),
    ],
)
def test_a_mistake_names_file_entry_and_field(tmp_path: Path, text: str, problem: str) -> None:
    path = own(tmp_path, text)
    with pytest.raises(PresetError) as raised:
        load_providers(path)
    assert all(line.startswith(f"{path}: ") for line in raised.value.problems)
    assert problem in str(raised.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(PresetError) as raised:
        load_providers(own(tmp_path, "a: {x: 1, y: 2}\nb: {z: 3}\n"))
    assert len(raised.value.problems) == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"gone\.yaml: No such file"):
        load_providers(tmp_path / "gone.yaml")


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load_providers(own(tmp_path, "")) == load_providers(None)


def test_what_entries_share_stands_once_under_a_key_that_is_no_provider(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        ".eu: &eu {rotates: true, default_lifetime_s: 600}\n"
        "acme: {<<: *eu, token_url: https://acme.example/t}\n"
        "globex: {<<: *eu, token_url: https://globex.example/t, default_lifetime_s: 60}\n"
    )
    found = load_presets(path)
    assert {name: (one.rotates, one.default_lifetime_s) for name, one in found.items()} == {
        "acme": (True, 600),
        "globex": (True, 60),
    }
