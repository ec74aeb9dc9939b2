"""A file is read row by row: a bad row is named with its line, and every row behind it is read."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.accounts.entry import RowRefused, read_entry
from worker.accounts.formats.row import ROW_MAX_BYTES, Raw, UnreadableFile
from worker.accounts.formats.source import Format, Source, open_source
from worker.errors import UsageError


def rows(content: str | bytes, file_format: Format) -> list[Raw]:
    raw = content.encode() if isinstance(content, str) else content
    found = list(Source(io.BytesIO(raw), "FILE", file_format, len(raw)).rows())
    assert all(one.cells is (file_format in {Format.CSV, Format.PROPERTIES}) for one in found if one.row)
    return [replace(one, cells=False) for one in found]


def ids(found: list[Raw]) -> list[object]:
    return [one.row["id"] if one.row else one.reason for one in found]


# --- JSON Lines ------------------------------------------------------------------------------------


def test_json_lines_are_numbered_with_their_blank_lines() -> None:
    found = rows('{"id": "a"}\n\n  \n{"id": "b"}', Format.JSONL)
    assert found == [Raw(1, {"id": "a"}), Raw(4, {"id": "b"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "not valid JSON: Expecting value (column 1)"),
        (b'{"id"', "not valid JSON: Expecting ':' delimiter (column 6)"),
        (b'{"id": "a"', "not valid JSON"),
        (b"[1]x", "not valid JSON"),
        (b'"text"', "expected a JSON object"),
        (b"7", "expected a JSON object"),
        (b'{"id": NaN}', "not valid JSON: NaN"),
        (b'{"id": "a", "id": "b"}', "'id' is given twice"),
        (b'{"id": "\xff"}', "is not UTF-8 text"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b'{"id": ' + b"1" * 5000 + b"}", "limit"),
        (b'{"id": "' + b"a" * ROW_MAX_BYTES + b'"}', "is longer than 1,048,576 bytes"),
    ],
)
def test_a_bad_line_is_named_and_the_next_one_is_read(line: bytes, reason: str) -> None:
    bad, good = rows(b'{"id": "0"}\n' + line + b'\n{"id": "z"}\n', Format.JSONL)[1:]
    assert bad.line == 2
    assert bad.row is None
    assert reason in bad.reason
    assert good == Raw(3, {"id": "z"})


def test_a_number_that_no_float_holds_stays_text() -> None:
    assert rows('{"id": 1e999}', Format.JSONL)[0].row == {"id": "1e999"}


def test_a_json_array_is_read_as_the_list_it_is() -> None:
    found = rows('[\n {"id": "a", "n": 1.5},\n {"id": "b"}\n]\n', Format.JSONL)
    assert found == [Raw(2, {"id": "a", "n": 1.5}), Raw(3, {"id": "b"})]


# --- CSV -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_that_gives_most_column_names(delimiter: str) -> None:
    text = delimiter.join(["id", "scope"]) + "\n" + delimiter.join(["a", "x y"]) + "\n"
    assert rows(text, Format.CSV) == [Raw(2, {"id": "a", "scope": "x y"})]


def test_a_cell_may_span_lines() -> None:
    found = rows('id,custom_fields.pem\na,"one\ntwo\n"\nb,x\n', Format.CSV)
    assert found == [
        Raw(2, {"id": "a", "custom_fields.pem": "one\ntwo\n"}),
        Raw(5, {"id": "b", "custom_fields.pem": "x"}),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('b,"never closed', "a quote is opened and not closed"),
        ('b,"closed"late', "not valid CSV"),
        ("b", "has 1 cells where the first line names 2 columns"),
        ("b,1,2", "has 3 cells where the first line names 2 columns"),
        ('b,"' + "x" * 200_000, "field larger than field limit"),
    ],
)
def test_a_bad_row_takes_no_other_with_it(bad: str, reason: str) -> None:
    text = f"id,scope\na,1\n{bad}\n" + "".join(f"c{n},{n}\n" for n in range(300)) + 'd,"quoted"\n'
    found = rows(text, Format.CSV)
    assert ids(found) == ["a", found[1].reason, *(f"c{n}" for n in range(300)), "d"]
    assert found[1].line == 3
    assert reason in found[1].reason
    assert found[-1].line == 304


def test_a_quote_that_is_closed_by_a_later_row_is_found_by_the_number_of_cells() -> None:
    found = rows('id,scope\na,"open\nb,x\nc,"y"\nd,z\n', Format.CSV)
    assert [one.line for one in found] == [2, 3, 4, 5]
    assert ids(found)[1:] == ["b", "c", "d"]


def test_a_row_that_is_no_utf8_or_too_long_is_named() -> None:
    found = rows(b"id,scope\na,\xff\nb," + b"x" * (ROW_MAX_BYTES + 10) + b"\nc,ok\n", Format.CSV)
    assert ids(found) == ["is not UTF-8 text", "is longer than 1,048,576 bytes", "c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acme-1,secret-token\nacme-2,other\n", "`id` is not among them"),
        ("id,scope,scope\n", "'scope' stands there twice"),
    ],
)
def test_a_csv_without_a_first_line_of_names_is_refused_as_a_whole(text: str, words: str) -> None:
    with pytest.raises(UnreadableFile, match=words) as refused:
        rows(text, Format.CSV)
    assert "secret-token" not in str(refused.value)


# --- YAML ------------------------------------------------------------------------------------------


def test_yaml_is_a_list_or_one_under_accounts() -> None:
    listed = "- id: a\n  scope: x\n- {id: b}\n"
    assert rows(listed, Format.YAML) == [Raw(1, {"id": "a", "scope": "x"}), Raw(3, {"id": "b"})]
    under = "defaults: &d {provider: google}\naccounts:\n- <<: *d\n  id: a\n- id: b\n  <<: [*d, {scope: x}]\n"
    assert rows(under, Format.YAML) == [
        Raw(3, {"provider": "google", "id": "a"}),
        Raw(5, {"provider": "google", "scope": "x", "id": "b"}),
    ]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("0123", "0123"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-09-21T14:13:20Z", "2026-09-21T14:13:20Z"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("", None),
        ("15", 15),
        ("1.5", 1.5),
        ("1e999", "1e999"),
        ('"15"', "15"),
        ("!!str 15", "15"),
        ("|\n   one\n   two", "one\ntwo\n"),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
    ],
)
def test_plain_scalars_mean_what_json_would(scalar: str, value: object) -> None:
    assert rows(f"- x: {scalar}\n", Format.YAML)[0].row == {"x": value}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("!!python/object/apply:os.system [id]", "unsupported tag"),
        ("{id: b, id: c}", "'id' is given twice"),
        ("{id: *nobody}", "without an anchor before it"),
        ("&self {id: *self}", "without an anchor before it, or of itself"),
        ("just text", "expected a mapping"),
        ("[" * 60 + "]" * 60, "is nested too deeply"),
    ],
)
def test_a_bad_item_is_named_and_the_next_one_is_read(item: str, reason: str) -> None:
    found = rows(f"- id: a\n- {item}\n- id: z\n", Format.YAML)
    assert ids(found) == ["a", found[1].reason, "z"]
    assert found[1].line == 2
    assert reason in found[1].reason


def test_aliases_of_aliases_fill_no_memory() -> None:
    lines = ["- &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    found = rows("\n".join([*lines, "- {id: *l11}", "- id: z"]), Format.YAML)
    assert "holds more than 10,000 values" in found[-2].reason
    assert found[-1].row == {"id": "z"}


@pytest.mark.parametrize(
    "text",
    [
        "- id: a\n- [\n",
        "id: a\n",
        "just text",
        "- id: a\n--- \n- id: b\n",
        "- id: \x01\n",
        "accounts: {id: a}\n",
        "- id: a\n- " + "[" * 100_000,
        "accounts:\n- {id: " + "{a: " * 100_000,
        "- " * 100_000 + "x",
    ],
    ids=lambda text: text[:20],
)
def test_yaml_that_can_not_be_read_is_refused_before_a_row_is_given(text: str) -> None:
    with pytest.raises(UnreadableFile, match="FILE: "):
        Source(io.BytesIO(text.encode()), "FILE", Format.YAML, len(text)).rows()


# --- any -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", Format)
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_rows(file_format: Format, content: bytes) -> None:
    assert rows(content, file_format) == []


@pytest.mark.parametrize(
    ("file_format", "text"),
    [(Format.JSONL, '{"id": "a"}'), (Format.CSV, "id\na\n"), (Format.YAML, "- id: a\n")],
)
def test_a_byte_order_mark_is_no_part_of_the_first_row(file_format: Format, text: str) -> None:
    assert ids(rows(b"\xef\xbb\xbf" + text.encode(), file_format)) == ["a"]


@pytest.mark.parametrize("file_format", Format)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_what_is_not_utf8_is_refused_as_a_whole(file_format: Format, encoding: str) -> None:
    with pytest.raises(UnreadableFile, match="is not UTF-8 text"):
        rows("id,scope\na,b\n".encode(encoding), file_format)


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("a.jsonl", Format.JSONL), ("a.NDJSON", Format.JSONL), ("a.json", Format.JSONL), ("a.yml", Format.YAML),
     ("a.tsv", Format.CSV)],
)  # fmt: skip
def test_the_name_tells_the_format(tmp_path: Path, name: str, file_format: Format) -> None:
    (tmp_path / name).write_text("")
    with open_source(tmp_path / name, None) as source:
        assert source.format is file_format


def test_an_unknown_name_needs_a_format(tmp_path: Path) -> None:
    (tmp_path / "accounts.txt").write_text('{"id": "a"}\n')
    with pytest.raises(UsageError, match="expected --format"), open_source(tmp_path / "accounts.txt", None):
        pass
    with open_source(tmp_path / "accounts.txt", Format.JSONL) as source:
        assert ids(list(source.rows())) == ["a"]


@pytest.mark.parametrize("path", ["nowhere.jsonl", "."])
def test_a_file_that_can_not_be_opened_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError), open_source(tmp_path / path, Format.JSONL):
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "id",
        "provider",
        "issued_at",
        "expires_in",
        "custom_fields",
        "custom_fields.x",
        "params",
        "Session Timeout",
    ]
)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode), st.sampled_from(Format))
def test_no_content_is_too_odd(content: bytes, file_format: Format) -> None:
    """Whatever is in a file: rows, reasons, or one refusal of the whole."""
    try:
        found = rows(content, file_format)
    except UnreadableFile:
        return
    for one in found:
        assert one.line >= 1
        assert (one.row is None) == bool(one.reason)


@given(st.text(alphabet="ab\",;\n\r\t \\{}[]:-&*!|>#'", max_size=60), st.sampled_from(Format))
def test_no_punctuation_is_too_odd(text: str, file_format: Format) -> None:
    prefix = {
        Format.CSV: "id,scope\n",
        Format.YAML: "- id: a\n",
        Format.JSONL: '{"id": "a"}\n',
        Format.PROPERTIES: "a.scope=\n",
    }[file_format]
    try:
        rows(prefix + text, file_format)
    except UnreadableFile:
        assert file_format is Format.YAML


@given(st.dictionaries(names | st.text(max_size=15), json_values, max_size=6))
def test_no_row_is_too_odd(row: dict[str, object]) -> None:
    """Whatever a JSON object holds: an entry, or what is wrong with it."""
    with suppress(RowRefused):
        assert read_entry(row).id


@given(st.lists(st.dictionaries(names, st.text(max_size=20), min_size=1), max_size=5))
def test_yaml_and_json_lines_read_json_alike(objects: list[dict[str, str]]) -> None:
    as_json = "".join(json.dumps(one) + "\n" for one in objects)
    as_yaml = json.dumps(objects)
    if "\\ud" in as_yaml:  # halves of pairs, which only JSON can write
        return
    assert [one.row for one in rows(as_json, Format.JSONL)] == [one.row for one in rows(as_yaml, Format.YAML)]
