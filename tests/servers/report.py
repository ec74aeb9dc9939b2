"""What came of a run: a line for each server and kind of account, and the bars that were missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from refreshd_reader import AccountState
from tests.servers.catalogue import Kind, RealServer
from tests.servers.watching import Seen

#: Fewer in two minutes of 20-second tokens, and what was watched was not a refresh.
REFRESHES_MIN_EACH_MINUTE = 1


@dataclass(frozen=True)
class Line:
    """What came of the accounts of one kind at one server."""

    server: RealServer
    kind: Kind
    found: str
    missed: tuple[str, ...] = ()


def healthy(server: RealServer, seen: list[Seen], minutes: float) -> Line:
    """Judge a server's healthy accounts: each has a usable token at every look, and new ones all the time."""
    missed = []
    if absent := sum(one.absent.total() for one in seen):
        missed.append(f"{absent} reads without a usable token")
    if refused := sum(one.refused for one in seen):
        missed.append(f"{refused} tokens refused by the server")
    fewest = min(one.refreshes for one in seen)
    if fewest < minutes * REFRESHES_MIN_EACH_MINUTE:
        missed.append(f"only {fewest} refreshes of an account")
    shown = sum(one.shown for one in seen)
    found = f"{sum(one.reads for one in seen)} reads, {fewest} or more refreshes each, {shown} shown to the server"
    return Line(server, Kind.HEALTHY, found, tuple(missed))


def sick(server: RealServer, kind: Kind, state: AccountState | None) -> Line:
    """Judge a sick account: it has the status and the reason of the table."""
    expected = server.expected(kind)
    if state is None:
        return Line(
            server, kind, "nothing in Redis", (f"expected {_words(expected.status, expected.reason)}",)
        )
    found = _words(state.status, state.reason)
    right = (state.status, state.reason) == (expected.status, expected.reason)
    # An account whose refresh token still works has been refreshed by now.
    right = right and (expected.status != "active" or state.generation > 1)
    missed = () if right else (f"expected {_words(expected.status, expected.reason)}: {expected.because}",)
    return Line(server, kind, found, missed)


def table(lines: list[Line], left_out: dict[str, str]) -> Iterator[str]:
    """Write the report."""
    for line in lines:
        name = f"{line.server.package} {line.server.version}"
        yield f"{'MISSED' if line.missed else 'ok':<7}{name:<42}{line.kind:<13}{line.found}"
        if line.kind is not Kind.HEALTHY and not line.missed:
            yield f"{'':<62}because: {line.server.expected(line.kind).because}"
        for words in line.missed:
            yield f"{'':<62}{words}"
    for name, why in left_out.items():
        yield f"{'LEFT OUT':<10}{name}: {why}"


def _words(status: str, reason: str | None) -> str:
    return f"{status}: {reason}" if reason else status
