"""No answer, however odd, makes judging fail."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.answer import Answer, BodyKind, Fault, Verdict
from models.providers.error_rule import ErrorRule
from models.token import Secret, TokenResponse
from worker.policy.verdicts.verdict import judge

texts = st.none() | st.text(max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["error", "suberror", "error_subtype", "code", "a.b", "errors.0.x"]) | st.text(
    max_size=8
)
answers = st.builds(
    Answer,
    status=st.none() | st.integers(min_value=-1, max_value=1000),
    token=st.none() | st.builds(TokenResponse, access_token=st.builds(Secret, st.text(min_size=1))),
    error=texts,
    error_description=texts,
    fault=st.none() | st.sampled_from(Fault),
    body_kind=st.sampled_from(BodyKind),
    fields=st.dictionaries(names, values, max_size=4),
    retry_after_s=st.none() | st.floats(min_value=0, max_value=1e9),
)
rules = st.builds(
    ErrorRule,
    verdict=st.sampled_from([verdict for verdict in Verdict if verdict is not Verdict.REFRESHED]),
    reason=st.just("own"),
    match=st.dictionaries(
        names, st.booleans() | st.integers() | st.text(max_size=10), min_size=1, max_size=2
    ),
    status=st.lists(st.integers(min_value=100, max_value=599), max_size=2).map(tuple),
)


@given(answer=answers, own=st.lists(rules, max_size=3))
def test_judging_never_fails_and_a_token_is_never_thrown_away(answer: Answer, own: list[ErrorRule]) -> None:
    judged = judge(answer, own)
    assert (judged.verdict is Verdict.REFRESHED) == (answer.token is not None)
    assert judged.reason
