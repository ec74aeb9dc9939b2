"""No bytes, status or headers make a call fail, and no usable token is lost."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from models.answer import Answer, Verdict
from models.provider import Provider
from tests.io.provider_double import Wire, account, provider
from worker.policy.verdict import judge

PROVIDERS = [
    provider(),
    provider(response={"access_token": "", "expires_in": "a.b", "error": ["x", "y.0.z"]}),
    provider(
        response={"access_token": ["a.b", "access_token"], "expires_in_unit": "ms"},
        publish_fields=["a", "a.b", "expires_in"],
        error_rules=[{"match": {"a.b": [1, "x"]}, "verdict": "retry", "reason": "own"}],
    ),
]

names = st.sampled_from(
    ["access_token", "refresh_token", "expires_in", "error", "scope", "a", "b"]
) | st.text(max_size=5)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
bodies = (
    st.binary(max_size=200)
    | documents.map(lambda document: json.dumps(document).encode())
    | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.lists(st.tuples(names, st.text(max_size=10)), max_size=4).map(
        lambda pairs: "&".join(f"{quote(k)}={quote(v)}" for k, v in pairs).encode()
    )
)
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
headers = st.dictionaries(
    st.sampled_from(["content-type", "content-encoding", "retry-after", "location", "date", "x-request-id"]),
    header_texts
    | st.sampled_from(["gzip", "deflate", "text/html; charset=utf-7", "yesterday", "-1", "1e400", "//["]),
    max_size=4,
)
tokens = st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=80)


def ask(of: Provider, status: int, content: bytes, headers: dict[str, str]) -> Answer:
    response = httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)
    return asyncio.run(Wire(response).call(account(of)))


@settings(max_examples=400, deadline=None)
@given(
    of=st.sampled_from(PROVIDERS), status=st.integers(min_value=100, max_value=999), content=bodies, headers=headers
)  # fmt: skip
def test_nothing_that_arrives_makes_a_call_fail(
    of: Provider, status: int, content: bytes, headers: dict[str, str]
) -> None:
    answer = ask(of, status, content, headers)
    judged = judge(answer, of.error_rules)
    assert (judged.verdict is Verdict.REFRESHED) == (answer.token is not None)
    assert answer.retry_after_s is None or answer.retry_after_s >= 0


@settings(max_examples=300, deadline=None)
@given(
    token=tokens,
    refresh=tokens,
    beside=st.dictionaries(names, documents, max_size=4),
    status=st.integers(min_value=200, max_value=599),
    content_type=header_texts,
    cut=st.integers(min_value=0, max_value=40),
)  # fmt: skip
def test_a_usable_token_is_never_lost(
    token: str, refresh: str, beside: dict[str, object], status: int, content_type: str, cut: int
) -> None:
    """Whatever stands beside it, whatever the status, and even where the end of the body is missing."""
    document = {"access_token": token, "refresh_token": refresh}
    document |= {name: value for name, value in beside.items() if name not in document}  # type: ignore[misc]
    whole = json.dumps(document).encode()
    needed = len(json.dumps({"access_token": token, "refresh_token": refresh})) - 1
    content = whole[: max(needed, len(whole) - cut)]

    answer = ask(PROVIDERS[0], status, content, {"content-type": content_type})
    assert answer.token is not None
    assert answer.token.access_token.reveal() == token
    assert answer.token.refresh_token is not None
    assert answer.token.refresh_token.reveal() == refresh
    assert judge(answer, ()).verdict is Verdict.REFRESHED


@settings(max_examples=100, deadline=None)
@given(
    secret=st.text(st.characters(exclude_characters="#", codec="utf-8"), min_size=6, max_size=30),
    before=st.integers(min_value=0, max_value=600),
    status=st.sampled_from([200, 400, 500]),
)  # fmt: skip
def test_no_error_shows_a_secret_that_was_sent(secret: str, before: int, status: int) -> None:
    """Not even a piece of one, where the text is cut."""
    quoted = "#" * before + secret
    body = {"error": quoted, "error_description": quoted, "more": {"list": [quoted]}}
    content = json.dumps(body).encode()
    response = httpx.Response(status, content=content)
    answer = asyncio.run(Wire(response).call(account(refresh_token=secret)))
    for shown in (answer.error, answer.error_description):
        assert set(shown or "") <= set("#[redacted]")
    assert answer.fields["more"] == {"list": ["#" * before + "[redacted]"]}
