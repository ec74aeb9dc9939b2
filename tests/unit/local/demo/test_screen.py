"""The demo's screen: it fits, and it says what a person needs to see."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from refreshd_reader.contract import AccountState, Token
from worker.local.demo.accounts import demo_accounts
from worker.local.demo.screen import ENDED, Place, event_line, screen, short_time, totals
from worker.local.demo.watch import Picture, Seen
from worker.redis.event_stream import SeenEvent

NOW = 1_000_000.0
PLACE = Place(
    facts=[("Flower", "http://127.0.0.1:5555   user refreshd, password abc"), ("Files", "/data/demo")],
    hints=[
        (". /data/demo/env", "first"),
        ("refreshd refresh demo-01 --force --wait", "through a worker, at once"),
        (
            "valkey-cli -u $(cat /a/rather/long/path/to/a/data/folder/redis.url) hgetall 'refreshd:token:{x}'",
            "",
        ),
    ],
)


def seen(position: int, status: str = "active", *, token: bool = True, reason: str | None = None) -> Seen:
    account = demo_accounts(position)[-1]
    state = AccountState(status, 7, reason, NOW + 12)
    held = Token("secret", 7, issued_at=NOW - 10, expires_at=NOW + 30) if token else None
    return Seen(account, state, held, None)


def picture(number: int = 36, **facts: object) -> Picture:
    events = [SeenEvent("refreshed", f"demo-{n:02d}", "refreshed", n, NOW - 60 + n) for n in range(1, 60)]
    accounts = [seen(position) for position in range(1, number + 1)]
    return Picture(**{"now": NOW, "accounts": accounts, "events": events, "reuses": 0, "lost": 0, **facts})  # type: ignore[arg-type]


def drawn(shown: Picture, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    console.print(screen(shown, PLACE, width=width, height=height, running_s=75))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("width", "height"), list(itertools.product((60, 80, 100, 117, 118, 120, 200), (24, 30, 40, 60)))
)
def test_it_fits(width: int, height: int) -> None:
    lines = drawn(picture(), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("number", [1, 36, 500])
def test_it_takes_any_number_of_accounts(number: int) -> None:
    lines = drawn(picture(number))
    assert len(lines) <= 24
    assert any("demo-01" in line for line in lines)


def test_it_says_how_many_more_there_are() -> None:
    lines = drawn(picture(36))
    shown = sum(line.startswith("demo-") for line in lines)
    assert f"+ {36 - shown} more" in [line.strip() for line in lines]


def test_a_tall_terminal_shows_all_accounts() -> None:
    lines = drawn(picture(36), 120, 60)
    assert sum(line.startswith("demo-") for line in lines) == 36


def test_a_row_says_everything_of_an_account() -> None:
    (row,) = (line for line in drawn(picture(1)) if line.startswith("demo-01"))
    assert row.split() == [
        "demo-01",
        "acorn-crm",
        "auto",
        "20s",
        "active",
        "7",
        "━━━━━━╌╌",
        "30s",
        "in",
        "12s",
    ]


def test_accounts_that_fail_come_first_with_the_reason() -> None:
    accounts = [*map(seen, range(1, 36)), seen(36, "reauthorize", token=False, reason="invalid_grant")]
    rows = [line for line in drawn(picture(accounts=accounts)) if line.startswith("demo-")]
    assert rows[0].startswith("demo-36")
    assert "reauthorize" in rows[0]
    assert "invalid_grant" in rows[0]
    assert rows[1].startswith("demo-01")


def test_accounts_that_fail_on_purpose_are_marked_once_they_fail() -> None:
    accounts = [seen(3), seen(4, "misconfigured", token=False, reason="invalid_client"), seen(5, "degraded")]
    rows = {line[:7]: line.rstrip() for line in drawn(picture(accounts=accounts)) if line.startswith("demo-")}
    wide = drawn(picture(accounts=accounts), 120, 30)
    assert any("invalid_client  on purpose " in line for line in wide), (
        "nothing is cut where events stand beside"
    )
    assert {name: row.endswith("on purpose") for name, row in rows.items()} == {
        "demo-03": False,
        "demo-04": True,
        "demo-05": False,
    }


def test_events_stand_whole_beside_the_accounts() -> None:
    events = [SeenEvent("reauthorize", "demo-03", "invalid_grant", 2, NOW - 65)]
    assert any(
        line.endswith("1m05  demo-03 reauthorize invalid_grant")
        for line in drawn(picture(events=events), 120)
    )


def test_commands_to_copy_are_never_cut() -> None:
    text = "".join(line.rstrip() if len(line) < 80 else line for line in drawn(picture()))
    assert "refreshd:token:{x}'" in text
    assert "refreshd refresh demo-01 --force --wait" in text


def test_no_token_is_on_the_screen() -> None:
    assert "secret" not in "".join(drawn(picture(), 200, 60))


def test_trouble_takes_the_place_of_the_numbers() -> None:
    title = drawn(picture(trouble=["Redis does not answer: connection refused"]))[0]
    assert "Redis does not answer" in title


def test_what_happens_to_a_process_is_not_pushed_out_at_once() -> None:
    events = [SeenEvent(ENDED, "worker-1", "was ended by SIGKILL", None, NOW - 5)]
    events += [SeenEvent("refreshed", f"demo-{n}", "refreshed", 2, NOW) for n in range(50)]
    assert any("worker-1" in line for line in drawn(picture(events=events)))
    late = [SeenEvent(ENDED, "worker-1", "was ended by SIGKILL", None, NOW - 60), *events[1:]]
    assert not any("worker-1" in line for line in drawn(picture(events=late)))


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (SeenEvent("refreshed", "demo-01", "refreshed", 4, NOW), "demo-01 refreshed gen 4"),
        (SeenEvent("failed", "demo-04", "invalid_client", 1, NOW), "demo-04 failed invalid_client"),
        (SeenEvent("unheard of", "x", "why", None, NOW), "x       unheard of why"),
    ],
)
def test_an_event_is_a_line(event: SeenEvent, line: str) -> None:
    assert event_line(event).plain == line


def test_totals_name_what_must_be_zero() -> None:
    shown = picture(refreshed=1234, failed=2)
    assert totals(shown) == "1,234 refreshed, 2 failed, 0 refresh tokens used twice, 0 grants lost"
    shown.reuses = None
    assert "the provider does not answer" in totals(shown)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m00"), (125, "2m05"), (3600, "1h00"), (7_500, "2h05")],
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert short_time(seconds) == text
