"""The page of `explain` at 80 columns, on a terminal and in a pipe: what is to be typed stands on one line."""

from __future__ import annotations

import re

from msgspec.structs import replace
from rich.console import Console

from tests.unit.diagnostics.test_rules import REDIS, facts
from worker.cli.explain.text import page
from worker.diagnostics.explain.facts import Facts
from worker.diagnostics.explain.rules import diagnose


def printed(of: Facts) -> str:
    console = Console(width=80, no_color=True)
    with console.capture() as shown:
        console.print(page(of, diagnose(of)), crop=False)
    return shown.get()


def test_the_commands_of_a_healthy_account_are_whole_with_redis_cli_and_without() -> None:
    shown = printed(facts())
    assert re.search(
        r"^ +redis-cli -u REDIS_URL hgetall 'refreshd:token:\{acct\}' .*\|ERR\) '$", shown, re.MULTILINE
    )
    program = "print(Reader.from_url('REDIS_URL').get('acct').generation)"
    assert f'python3 -c "from refreshd_reader import Reader; {program}"\n' in shown
    renamed = printed(facts(redis=replace(REDIS, prefix="ours:")))
    assert "Reader.from_url('REDIS_URL', prefix='ours:').get('acct')" in renamed


def test_no_remedy_is_folded_within_a_command_and_prose_is_folded_at_the_width() -> None:
    shown = printed(facts({"status": "misconfigured", "reason": "html_page", "expires_at": 5.0}))
    assert all(line.count("`") % 2 == 0 for line in shown.splitlines()), shown
    prose = [line for line in shown.splitlines() if "`" not in line]
    assert max(map(len, prose)) <= 80
