"""Callbacks that hang, crash, eat, fork and flood: what the account is told, and that the next one runs as ever."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from models.tables.attempt import Attempt, Outcome
from models.token import Secret
from tests.integration.callbacks.conftest import MODULES, WILD
from tests.integration.conftest import Bench
from tests.support.services import redis_server
from tests.support.waiting import wait_until
from worker.callbacks.host.fork_server_client import ForkServerClient, SandboxBroken
from worker.callbacks.sandbox.limits import NICENESS
from worker.callbacks.sandbox.protocol import RunEnded
from worker.crypto.cipher import generate_key
from worker.settings import Settings

CUSTOM_FIELDS = Secret(json.dumps({"password": 'p/ss "word"'}))

_numbers = itertools.count()


@pytest.fixture(scope="module")
def bench(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A runtime and its fork server, as of a worker that meets all of these callbacks one after the other."""
    folder = tmp_path_factory.mktemp("wild")
    (folder / "refreshd.db").write_bytes(sqlite_template.read_bytes())
    with redis_server(folder) as redis, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(MODULES)])
        settings = Settings(
            database_url=SecretStr(f"sqlite:///{folder / 'refreshd.db'}"),
            redis_url=SecretStr(redis.url),
            keys=SecretStr(generate_key()),
            data_dir=folder,
            callback_modules=(WILD,),
        )
        made = Bench(settings, runs_callbacks=True)
        yield made
        made.runtime.close()


def run(bench: Bench, callback: str) -> Attempt:
    """Refresh a new account by a callback, and give the entry of its history."""
    account = f"acct-{next(_numbers)}"
    bench.add(
        account,
        refresh_method="callback",
        callback=callback,
        custom_fields_sealed=bench.runtime.sealer.seal(account, "custom_fields", CUSTOM_FIELDS),
    )
    bench.refresh(account)
    (attempt,) = bench.runtime.history.of(account, limit=9)
    return attempt


@pytest.mark.parametrize(
    ("callback", "reason", "words"),
    [
        ("raises", "callback_failed", "it raised RuntimeError: the provider did not like [redacted] (wild_callbacks.py:"),
        ("returns-none", "callback_failed", "it returned None (is a `return` missing?): return a CallbackOutput, or a dict"),
        ("returns-a-set", "callback_failed", "it returned a list: return a CallbackOutput"),
        ("takes-nothing", "callback_failed", "takes 0 positional arguments but 1 was given (wild_callbacks.py:"),
        ("returns-no-json", "callback_failed", "access_token is a object, a text is expected"),
        ("returns-too-much", "callback_failed", "it returned more than 1 MiB"),
        ("sleeps", "timed_out", "it ran longer than 0.3 s (its soft limit) and was told so by CallbackTimeout"),
        ("sleeps-async", "timed_out", "it ran longer than 0.3 s (its soft limit)"),
        ("tidies-up", "timed_out", "it ran longer than 0.3 s (its soft limit)"),
        ("will-not-end", "timed_out", "it went on after its time was over and was killed after 5.3 s (its hard limit)"),
        ("exits", "callback_failed", "it called sys.exit('enough')"),
        ("exits-at-once", "callback_failed", "its process ended with exit code 7 before it returned"),
        ("crashes", "callback_failed", "its process was ended by SIGSEGV"),
        ("eats", "callback_failed", "it raised MemoryError (it may take 200 MiB)"),
        ("misspells", "callback_failed", "'acces_token' is no field of an output and is left out; did you mean"),
    ],
)  # fmt: skip
def test_each_end_is_explained_and_the_next_run_is_as_ever(
    bench: Bench, callback: str, reason: str, words: str
) -> None:
    attempt = run(bench, callback)

    assert (attempt.outcome, attempt.reason) == (Outcome.RETRY, reason)
    assert attempt.error_description is not None
    assert words in attempt.error_description
    assert bench.account(attempt.account_id).generation == 1
    assert run(bench, "rotates").outcome == Outcome.REFRESHED


def test_what_json_has_no_word_for_costs_no_token_beside_it(bench: Bench) -> None:
    attempt = run(bench, "returns-bytes")

    token = bench.token(attempt.account_id)
    assert token is not None
    assert token.access_token == "bytes"
    assert attempt.output is not None
    assert (
        "[refreshd] expires_in is a timedelta, a number of seconds is expected: it is left out"
        in attempt.output
    )


def test_what_a_callback_prints_is_never_taken_for_what_we_say(bench: Bench) -> None:
    output = run(bench, "poses").output
    assert output is not None
    assert output.splitlines()[0] == " [refreshd] returned whatever you like"


@pytest.mark.parametrize(
    ("callback", "note"),
    [
        ("returns-odd-values", "[refreshd] token_type is a Logger, a text is expected: it is left out"),
        ("returns-odd-values", "[refreshd] 'expires_at' is no field of an output and is left out"),
        ("returns-odd-values", "[refreshd] '<tuple>' is no field of an output and is left out"),
        (
            "returns-a-whole-page",
            "it returned more than 1024 KiB: all but the fields of an output is left out",
        ),
    ],
)
def test_a_rotated_token_is_stored_whatever_stands_beside_it(bench: Bench, callback: str, note: str) -> None:
    attempt = run(bench, callback)

    assert attempt.outcome == Outcome.REFRESHED, attempt.error_description
    assert note in (attempt.output or "")
    kept = bench.runtime.sealer.open(bench.account(attempt.account_id), "refresh_token")
    assert kept is not None
    assert kept.reveal().endswith("+")


def kept_refresh_token(bench: Bench, attempt: Attempt) -> str:
    kept = bench.runtime.sealer.open(bench.account(attempt.account_id), "refresh_token")
    assert kept is not None
    return kept.reveal()


@pytest.mark.parametrize(
    "callback", ["closes-stdout", "has-no-stdout", "leaves-an-executor", "leaves-a-stubborn-task"]
)
def test_what_was_returned_is_stored_whatever_goes_wrong_afterwards(bench: Bench, callback: str) -> None:
    attempt = run(bench, callback)
    assert attempt.outcome == Outcome.REFRESHED, attempt.error_description
    assert kept_refresh_token(bench, attempt) == "old-refresh+"


@pytest.mark.parametrize("error", [TimeoutError(), SandboxBroken("it ended")], ids=["late", "broken"])
def test_an_answer_that_is_there_is_stored_though_the_end_of_its_run_is_not_known(
    bench: Bench, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was paused, a fork server that was killed after the run had answered."""
    ended = ForkServerClient._ended

    async def lost(server: ForkServerClient) -> RunEnded:
        await ended(server)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ForkServerClient, "_ended", lost)
        attempt = run(bench, "rotates")

    assert attempt.outcome == Outcome.REFRESHED, attempt.error_description
    assert kept_refresh_token(bench, attempt) == "old-refresh+"
    assert run(bench, "rotates").outcome == Outcome.REFRESHED


def test_new_tokens_that_it_printed_before_it_failed_are_masked(bench: Bench) -> None:
    attempt = run(bench, "prints-and-raises")

    assert attempt.reason == "callback_failed"
    assert "answer {'access_token': '**********" in (attempt.output or "")
    assert "it raised RuntimeError" in (attempt.error_description or "")
    assert "brand-new" not in f"{attempt.output} {attempt.error_description}"


def alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; it may end between two questions."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def fork_servers(*, but: Sequence[psutil.Process] = ()) -> list[psutil.Process]:
    """Return the fork servers of this process, but those that are known."""
    return [
        one
        for one in psutil.Process().children()
        if "worker.callbacks.sandbox.fork_server" in " ".join(one.cmdline()) and one not in but
    ]


def test_what_was_printed_before_the_end_is_kept(bench: Bench) -> None:
    output = run(bench, "tidies-up").output
    assert output is not None
    assert output.startswith("tidied up\nTraceback (most recent call last):\n")
    assert "time.sleep(FOREVER_S)" in output


def test_what_a_run_leaves_behind_is_killed_and_counted(bench: Bench) -> None:
    attempt = run(bench, "forks")

    assert attempt.outcome == Outcome.REFRESHED
    token = bench.token(attempt.account_id)
    assert token is not None
    assert token.access_token == "old-access of the parent"
    assert attempt.output is not None
    assert "processes that it had left behind were killed" in attempt.output
    (server,) = fork_servers()
    # On a busy machine the fork server reaps some of them with the next run only.
    wait_until(lambda: not any(map(alive, server.children(recursive=True))), "their end")


def test_a_run_stands_behind_everything_else_for_the_cpu(bench: Bench) -> None:
    assert run(bench, "rotates").outcome == Outcome.REFRESHED
    (server,) = fork_servers()
    assert server.nice() == NICENESS
    autogroup = Path(f"/proc/{server.pid}/autogroup")
    assert not autogroup.exists() or autogroup.read_text().split()[-1] == str(NICENESS)


def test_a_thread_keeps_no_process(bench: Bench) -> None:
    assert run(bench, "leaves-a-thread").outcome == Outcome.REFRESHED


def test_a_flood_is_cut_in_the_middle_and_holds_no_secret(bench: Bench) -> None:
    output = run(bench, "floods").output

    assert output is not None
    assert output.startswith("0 [redacted]\n1 [redacted]\n")
    assert "bytes in all; the middle is left out" in output
    assert "the end\n[refreshd] returned access_token" in output
    assert "old-refresh" not in output
    assert len(output) < 25_000


def test_output_is_kept_without_any_secret_in_any_form(bench: Bench) -> None:
    output = run(bench, "talks").output

    assert output is not None
    lines = output.splitlines()
    assert lines[0] == "plain [redacted] quoted [redacted] repr '[redacted]'"
    assert lines[1] == "basic [redacted] returned [redacted]"
    assert "INFO wild: logged [redacted]" in lines
    assert "raw [redacted]" in lines


def test_a_run_has_a_folder_of_its_own_that_is_gone_afterwards(bench: Bench) -> None:
    first, second = (bench.token(run(bench, "writes").account_id) for _ in range(2))

    assert first is not None
    assert second is not None
    folders = []
    for token in (first, second):
        folder, _, files = token.access_token.partition(" ")
        assert files == "['note']"
        folders.append(Path(folder))
    assert folders[0] != folders[1]
    assert not any(folder.exists() for folder in folders)


def test_a_fork_server_that_is_killed_is_replaced(bench: Bench) -> None:
    assert run(bench, "rotates").outcome == Outcome.REFRESHED
    (server,) = fork_servers()
    server.kill()
    # Not psutil's wait, which would reap it.
    wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "its end")

    assert run(bench, "rotates").outcome in {Outcome.REFRESHED, Outcome.RETRY}
    assert run(bench, "rotates").outcome == Outcome.REFRESHED


@pytest.mark.usefixtures("module_path")
def test_nothing_is_left_when_the_worker_process_ends(settings: Settings) -> None:
    before = fork_servers()
    bench = Bench(settings, runs_callbacks=True)
    run(bench, "rotates")
    (server,) = fork_servers(but=before)
    folder = Path(server.cwd())

    bench.runtime.close()

    assert not server.is_running()
    assert not folder.exists()
