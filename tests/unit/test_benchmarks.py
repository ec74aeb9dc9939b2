"""What the benchmark's verdict rests on: a provider that sees every mistake, and a bar that can be missed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.bar import Ratios, agree, left, median_sample
from benchmarks.contestants import Sample
from benchmarks.processes import Provider
from benchmarks.report import met

pytestmark = pytest.mark.e2e


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with Provider(latency_ms=50, folder=tmp_path, env=os.environ) as running:
        yield running


def counts(provider: Provider) -> tuple[int, int, int, int]:
    tally = provider.tally()
    return tally["requests"], tally["answered"], tally["overlaps"], tally["reuses"]


def test_each_answer_rotates_the_refresh_token(provider: Provider) -> None:
    with httpx.Client() as client:
        # An account's name holds what a temporary folder's name may: an underscore, too.
        in_body = client.post(provider.token_url, data={"refresh_token": "mia-8_x.0"}).json()
        in_query = client.post(
            provider.token_url,
            params={"grant_type": "refresh_token", "refresh_token": in_body["refresh_token"]},
        ).json()

    assert (in_body["refresh_token"], in_query["refresh_token"]) == ("mia-8_x.1", "mia-8_x.2")
    assert in_body["access_token"] != in_query["access_token"]
    assert counts(provider) == (2, 2, 0, 0)


def test_a_refresh_token_that_was_used_is_refused_and_counted(provider: Provider) -> None:
    with httpx.Client() as client:
        client.post(provider.token_url, data={"refresh_token": "mia.0"})
        again = client.post(provider.token_url, data={"refresh_token": "mia.0"})

    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})
    assert counts(provider) == (2, 1, 0, 1)


async def test_two_calls_of_one_account_at_once_are_counted(provider: Provider) -> None:
    async with httpx.AsyncClient() as client:
        answers = await asyncio.gather(
            *(client.post(provider.token_url, data={"refresh_token": f"mia.{n}"}) for n in (0, 0, 1))
        )

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    assert counts(provider) == (3, 1, 2, 0)


async def test_a_request_in_pieces_is_one_request(provider: Provider) -> None:
    address = httpx.URL(provider.address)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    request = b"POST /token HTTP/1.1\r\nContent-Length: 19\r\n\r\nrefresh_token=mia.0"
    for byte in request:
        writer.write(bytes([byte]))
        await writer.drain()
    status = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert status == b"HTTP/1.1 200 OK\r\n"


FLOOR = [Sample(1600, 0.30), Sample(800, 0.60), Sample(1600, 0.30)]
OBVIOUS = [Sample(40, 5.0), Sample(20, 9.0), Sample(40, 5.0)]


@pytest.mark.parametrize(
    ("refreshd", "met"),
    [
        pytest.param([Sample(400, 0.30), Sample(200, 0.60), Sample(400, 0.30)], True, id="just met"),
        pytest.param([Sample(400, 0.30), Sample(10, 9.00), Sample(400, 0.30)], True, id="one bad round"),
        pytest.param([Sample(390, 0.30), Sample(190, 0.60), Sample(900, 0.30)], False, id="too slow"),
        pytest.param([Sample(400, 0.31), Sample(200, 0.65), Sample(400, 0.10)], False, id="too dear"),
    ],
)
def test_the_bar_is_the_median_of_ratios_of_single_rounds(refreshd: list[Sample], met: bool) -> None:
    assert Ratios.of(refreshd, FLOOR, obvious=OBVIOUS).met is met


@pytest.mark.parametrize(("refreshes_per_s", "met"), [(900.0, True), (890.0, False)])
def test_an_earlier_revision_has_to_be_left_behind(refreshes_per_s: float, *, met: bool) -> None:
    ratios = Ratios.of([Sample(refreshes_per_s, 0.3)], [Sample(1, 0.3)], earlier=[Sample(600, 0.9)])
    assert (ratios.speed, ratios.met) == (None, met)


def test_a_noisy_round_is_noisy_for_all() -> None:
    ratios = Ratios.of([Sample(1, 0.6), Sample(1, 1.2)], [Sample(1, 0.3), Sample(1, 0.6)])
    assert ratios.cpu == 2.0


def test_medians_are_of_each_column() -> None:
    assert median_sample([Sample(1, 9), Sample(2, 7), Sample(3, 8)]) == Sample(2, 8)


@pytest.mark.parametrize(
    ("took_ms", "is_met"), [([249.0, 250.0, 900.0], True), ([210.0, 250.1, 260.0], False)]
)
def test_the_bar_of_a_report_is_the_median_beside_the_providers_latency(
    took_ms: list[float], is_met: bool
) -> None:
    assert met(took_ms, latency_ms=200.0) is is_met


@pytest.mark.parametrize(
    ("ratios", "clear"),
    [
        ([], False),
        ([1.0, 1.1, 0.95, 1.0], False),
        ([1.0, 1.1, 0.95, 1.0, 0.91], True),
        ([1.0, 1.1, 0.95, 1.0, 0.5], False),
        ([1.0, 1.1, 0.95, 1.0, 0.5, 1.0, 1.0, 1.0], True),
        ([0.3, 0.4, 0.3, 0.4, 0.3], True),
    ],
)
def test_measuring_ends_when_rounds_agree_on_a_side_of_the_bar(ratios: list[float], clear: bool) -> None:
    assert agree(ratios) is clear


def test_what_is_left_is_compared_with_the_quiet_rounds_around_it() -> None:
    assert left([(450, 500), (500, 500)]) == [0.9, 1.0]
