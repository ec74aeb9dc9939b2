"""Names of providers' hosts: what one of them does holds up no other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from worker.providers.http1 import resolver
from worker.providers.http1.resolver import Resolver

#: More than uvloop, or asyncio's own pool on a small machine, looks up at once.
DEAD: Final = 16
ADDRESS: Final = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("198.51.100.7", 443))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], list[Any]]]:
    """Have names answered by functions; numbers are no names."""
    answers: dict[str, Callable[[], list[Any]]] = {}

    def getaddrinfo(host: str, *_: Any, flags: int, **__: Any) -> list[Any]:
        if flags == socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        return answers[host]()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def failing(code: int) -> Callable[[], list[Any]]:
    def answer() -> list[Any]:
        raise socket.gaierror(code, "as the test says")

    return answer


async def test_names_that_are_not_answered_hold_up_no_other(
    names: dict[str, Callable[[], list[Any]]], released: threading.Event
) -> None:
    for number in range(DEAD):
        names[f"tenant-{number}.dead.example"] = lambda: [released.wait()][1:]
    names["well.example"] = lambda: ADDRESS
    one = Resolver()
    waiting = [asyncio.create_task(one.resolve(name, 443)) for name in names if "dead" in name]
    await asyncio.sleep(0)

    assert await asyncio.wait_for(one.resolve("well.example", 443), 20) == ADDRESS
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()


async def test_addresses_of_before_serve_while_names_can_t_be_looked_up(
    names: dict[str, Callable[[], list[Any]]], released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "DNS_KEPT_S", 0.0)
    monkeypatch.setattr(resolver, "STALE_AFTER_S", 0.01)
    names["idp.example"] = lambda: ADDRESS
    one = Resolver()
    assert await one.resolve("idp.example", 443) == ADDRESS

    names["idp.example"] = failing(socket.EAI_AGAIN)
    assert await one.resolve("idp.example", 443) == ADDRESS
    names["idp.example"] = lambda: [released.wait()][1:]
    assert await one.resolve("idp.example", 443) == ADDRESS


async def test_a_name_that_has_no_address_any_more_is_an_error(
    names: dict[str, Callable[[], list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "DNS_KEPT_S", 0.0)
    names["idp.example"] = lambda: ADDRESS
    one = Resolver()
    assert await one.resolve("idp.example", 443) == ADDRESS

    names["idp.example"] = failing(socket.EAI_NONAME)
    with pytest.raises(socket.gaierror):
        await one.resolve("idp.example", 443)


async def test_many_who_ask_at_once_are_one_look_up(names: dict[str, Callable[[], list[Any]]]) -> None:
    asked = []

    def answer() -> list[Any]:
        asked.append(1)
        return ADDRESS

    names["idp.example"] = answer
    one = Resolver()
    assert await asyncio.gather(*(one.resolve("idp.example", 443) for _ in range(20))) == [ADDRESS] * 20
    assert len(asked) == 1
