"""No bytes, status or headers make a call fail, and no usable token is lost."""

from __future__ import annotations

import asyncio
import gzip
import json
from urllib.parse import quote

import httpx
from hypothesis import given
from hypothesis import strategies as st

from models.answer import Answer, Verdict
from models.providers import Provider
from tests.support.examples import examples
from tests.support.providers.provider_double import NOW, Wire, account, provider
from worker.policy.verdicts.verdict import judge
from worker.providers.response.numbers import amount

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
    st.sampled_from(
        [
            "content-type",
            "content-encoding",
            "retry-after",
            "x-ratelimit-reset",
            "location",
            "date",
            "x-request-id",
        ]
    ),
    header_texts
    | st.sampled_from(["gzip", "deflate", "text/html; charset=utf-7", "yesterday", "-1", "1e400", "//["]),
    max_size=4,
)
#: What servers put around the one object that counts.
around = st.sampled_from(
    [
        *(
            ("", ""),
            ("\ufeff\ufeff", ""),
            ("<pre>", "</pre>"),
            (")]}',\n", ""),
            ("for(;;);", ""),
            ("callback(", ");"),
        ),
        *(
            ("<br />\n<b>Warning</b>: f() {main} in <b>x.php</b> on line <b>3</b><br />\n", ""),
            ("data: ", "\n\n"),
        ),
        *(
            ('{"debug":true}\n', ""),
            ("", '{"status":"ok"}'),
            ("", "\0\0"),
            ("", "<!-- 0.02 s -->"),
            ("", " // cached"),
        ),
        *(('{"data":', "}"), ("[", "]"), ('[{"a":1},', "]")),
    ]
)
#: How one life of an access token is written; each is an hour, or ends an hour from now.
hours = st.sampled_from(
    [
        *({"expires_in": 3600}, {"expires_in": "3600"}, {"expires_in": "3,600"}, {"expires_in": "3600s"}),
        *({"expires_in": "60 min"}, {"expires_in": "PT1H"}, {"expires_in": "01:00:00"}, {"expires": 3600}),
        *({"expires_in_sec": 3600, "expires_in": 3_600_000}, {"expires_in": int(NOW) + 3600}),
        *({"expires_in": str(int(NOW) + 3600)}, {"expires_in": (int(NOW) + 3600) * 1000}),
        *(
            {"expires_in": "2027-01-15T09:00:00Z"},
            {"expires_at": NOW + 3600},
            {"expires_on": str(int(NOW) + 3600)},
        ),
        {".expires": "Fri, 15 Jan 2027 09:00:00 GMT"},
    ]
)
tokens = st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=80)


def ask(of: Provider, status: int, content: bytes, headers: dict[str, str]) -> Answer:
    response = httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)
    return asyncio.run(Wire(response).call(account(of)))


@examples(400)
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


@examples(300)
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


@examples(300)
@given(
    token=tokens,
    refresh=tokens,
    life=hours,
    wrapped=around,
    packed=st.integers(min_value=0, max_value=2),
    zipped=st.booleans(),
)  # fmt: skip
def test_the_one_object_with_a_token_is_found_wherever_it_stands(
    token: str, refresh: str, life: dict[str, object], wrapped: tuple[str, str], packed: int, zipped: bool
) -> None:
    """And all of it: the refresh token, and the end of the access token."""
    text = wrapped[0] + json.dumps({"access_token": token, **life, "refresh_token": refresh}) + wrapped[1]
    for _ in range(packed if wrapped == ("", "") else 0):
        text = json.dumps(text)
    content = gzip.compress(text.encode(), mtime=0) if zipped else text.encode()
    found = ask(PROVIDERS[0], 200, content, {}).token
    assert found is not None
    assert found.access_token.reveal() == token
    assert found.refresh_token is not None
    assert found.refresh_token.reveal() == refresh
    assert 3600 in {found.expires_in_s, (found.expires_at or NOW) - NOW}


@examples(100)
@given(first=tokens, second=tokens, wrapped=around)
def test_of_two_access_tokens_none_is_guessed(first: str, second: str, wrapped: tuple[str, str]) -> None:
    objects = "".join(json.dumps({"access_token": one}) for one in (first, second))
    answer = ask(PROVIDERS[0], 200, (wrapped[0] + objects + wrapped[1]).encode(), {})
    assert (answer.token is None) or first == second or wrapped[0][-1:] in {"[", ":"}


@examples(300)
@given(
    value=documents | st.sampled_from(["120", "120s", "120, 60", "PT2M", "1e400", "-1", "yesterday", str(NOW + 75)]),
    name=st.sampled_from(["expires_in", "expires_in_sec", "expires", "expires_at", "refresh_token_expires_in"]),
)  # fmt: skip
def test_a_time_is_read_or_noted(value: object, name: str) -> None:
    content = json.dumps({"access_token": "AT-2", name: value}).encode()
    answer = ask(PROVIDERS[0], 200, content, {})
    token = answer.token
    assert token is not None
    ends = (
        token.expires_in_s,
        token.expires_at,
        token.refresh_token_expires_in_s,
        token.refresh_token_expires_at,
    )
    is_read = any(end is not None for end in ends)
    is_nothing = (
        value in (None, "") or isinstance(value, dict) or (name == "expires_at" and amount(value) is not None)
    )
    is_noted = f"{name} can't be read as a time" in (answer.fault_detail or "")
    assert is_read or is_noted or is_nothing


@examples(100)
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
