"""Labels: what is one, and how a column has them."""

from __future__ import annotations

import pytest

from models.label import NO_LABELS, label_of, read_labels, write_labels


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("tenant=acme", ("tenant", "acme")),
        (" tenant = acme ", ("tenant", "acme")),
        ("a.b:c@d-e=f_g", ("a.b:c@d-e", "f_g")),
    ],
)
def test_a_word_names_a_label(word: str, label: tuple[str, str]) -> None:
    assert label_of(word) == label


@pytest.mark.parametrize(
    "word", ["", "tenant", "=acme", "tenant=", "a=b=c", "a b=c", "a=ä", f"a={'b' * 129}"]
)
def test_what_is_no_label_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME=VALUE|a label's"):
        label_of(word)


def test_equal_labels_are_equal_texts_and_none_are_no_json() -> None:
    assert write_labels({"b": "1", "a": "2"}) == write_labels({"a": "2", "b": "1"})
    assert read_labels(write_labels({"b": "1"})) == {"b": "1"}
    assert write_labels({}) == NO_LABELS
    assert read_labels(NO_LABELS) == {}
