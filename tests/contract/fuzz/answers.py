"""What providers and callbacks return. A usable token among it is never thrown away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx
from hypothesis import strategies as st

from models.answer import Answer, Verdict
from tests.contract.fuzz.files import CORPUS, MARK
from tests.contract.fuzz.mutation import Check, Target, mutated
from tests.support.providers.provider_double import Wire, account
from tests.unit.providers.test_response_properties import PROVIDERS, documents, headers
from worker.callbacks.host.output import Captured
from worker.callbacks.host.result import parse, read_value, redaction_of, shown
from worker.policy.verdicts.verdict import judge

_BODIES: Final = [path.read_bytes() for path in sorted(CORPUS.glob("response*"))]
_OUTPUTS: Final = [path.read_bytes() for path in sorted(CORPUS.glob("callback-output*"))]

responses = st.tuples(
    st.integers(min_value=0, max_value=len(PROVIDERS) - 1),
    st.integers(min_value=100, max_value=999),
    mutated(_BODIES),
    headers,
)
outputs = (
    mutated(_OUTPUTS)
    | documents
    | st.dictionaries(
        st.sampled_from(
            ["access_token", "refresh_token", "expires_in", "scope", "token_type", "errorResponse", "error"]
        )
        | st.integers(),
        documents,
        max_size=5,
    )
)


def usable(value: object) -> str | None:
    """Return the token that stands in a plain object where every reader expects it."""
    found = value.get("access_token") if isinstance(value, Mapping) else None
    if not isinstance(found, str) or not found.strip():
        return None
    return found if found.encode("utf-8", "replace").decode() == found else None


def strictly(content: bytes) -> object:
    try:
        return json.loads(content.decode("ascii"))
    except (ValueError, RecursionError):
        return None


@contextmanager
def token_responses() -> Iterator[Check]:
    requests = [account(one, client_secret=f"cs-{MARK}", refresh_token=f"rt-{MARK}") for one in PROVIDERS]
    with asyncio.Runner() as runner:

        def check(case: tuple[int, int, bytes, dict[str, str]]) -> None:
            nth, status, content, with_headers = case
            of = PROVIDERS[nth]
            response = httpx.Response(status, stream=httpx.ByteStream(content), headers=with_headers)
            answer = runner.run(Wire(response).call(requests[nth]))
            judged = judge(answer, of.error_rules)
            assert (judged.verdict is Verdict.REFRESHED) == (answer.token is not None)
            assert answer.retry_after_s is None or answer.retry_after_s >= 0
            storable(answer)
            if nth == 0 and "content-encoding" not in with_headers and usable(strictly(content)):
                assert answer.token is not None
                assert answer.token.access_token.reveal() == usable(strictly(content))

        yield check


@contextmanager
def callback_outputs() -> Iterator[Check]:
    request = account(
        PROVIDERS[0], client_secret=f"cs-{MARK}", refresh_token=f"rt-{MARK}", custom={"pin": f"cf-{MARK}"}
    )

    def check(case: object) -> None:
        value: Any = case
        if isinstance(case, bytes):
            captured = Captured()
            captured.feed(case.replace(b"@", MARK.encode()))
            captured.text(redaction_of(request))
            try:
                value = parse(case)
            except ValueError:
                return
        read = read_value(value, request)
        judge(read.answer, ())
        shown(read.answer, None)
        storable(read.answer)
        refused = isinstance(value, Mapping) and value.get("errorResponse")
        if usable(value) and not refused:
            assert read.answer.token is not None
        echoed = read_value({"errorResponse": {"error": f"rt-{MARK}", "error_description": value}}, request)
        assert MARK not in repr(echoed.answer)

    yield check


def storable(answer: Answer) -> None:
    """Everything that goes into a column or a hash is text that both can hold."""
    for text in (answer.error, answer.error_description, answer.error_uri, answer.provider_request_id):
        if text is not None:
            text.encode()
            assert "\0" not in text
    if answer.token is not None:
        for secret in (answer.token.access_token, answer.token.refresh_token):
            if secret is not None:
                secret.reveal().encode()
        for text in (answer.token.scope, answer.token.token_type, *answer.token.extra.values()):
            assert text is None or "\0" not in text


TOKEN_RESPONSES: Final = Target(responses, token_responses)
CALLBACK_OUTPUTS: Final = Target(outputs, callback_outputs)
