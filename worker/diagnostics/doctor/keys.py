"""Checks of keys: those of this process, and those of the workers."""

from __future__ import annotations

from collections.abc import Iterator

from worker.context import AppContext
from worker.db.fleet.sealed import sealed_sample
from worker.db.repair.rekey import check
from worker.diagnostics.doctor.result import CheckResult, failed, ok, warning
from worker.redis.counts import LiveWorkers


def check_keys(here: AppContext) -> Iterator[CheckResult]:
    """Check that every key in use is configured and opens its values; a sample of them, on a large fleet."""
    if here.will_make_key:
        yield ok("keys", f"none yet: the first secret that is stored makes {here.settings.made_keys_file}")
        return
    known = set(here.cipher.key_ids)
    used = sealed_sample(here.engine)
    missing = {key: count for key, count in used.keys.items() if key not in known}
    among = f" of {used.accounts:,} accounts that were looked at" if used.partial else ""
    for key, count in missing.items():
        yield failed(
            "keys",
            f"{count:,} values{among} are sealed with key {key!r}, which is not configured",
            "add it to REFRESHD_KEYS after the first; `refreshd keys check` names the accounts",
        )
    if missing:
        return
    sample = next(check(here.engine, here.cipher), None)
    if sample is not None and sample.unreadable:
        bad = sample.unreadable[0]
        yield failed(
            "keys",
            f"{len(sample.unreadable):,} values of the first {sample.accounts:,} accounts do not open: {bad.reason}",
            "a key of that id with other bytes is configured, or the rows were copied from another place: put the right "
            "key back; `refreshd keys check` names all",
        )
    else:
        words = (
            ", ".join(f"{key}: {count:,} values" for key, count in used.keys.items())
            or "nothing is sealed yet"
        )
        yield ok("keys", f"{len(known)} configured; {words}{among}")


def check_worker_keys(here: AppContext, staff: LiveWorkers | None) -> Iterator[CheckResult]:
    """Check that every worker has the keys of what is stored, and the one that commands of this place seal with."""
    if here.will_make_key:
        return
    used = sealed_sample(here.engine).keys if staff and staff.keys else {}
    writes = here.cipher.writing_key
    for worker, ids in staff.keys.items() if staff else ():
        if ids is None:
            yield warning(
                "keys",
                f"{worker} does not say which keys it has: it is of an older release",
                "upgrade it, and restart it",
            )
            continue
        missing = {key: count for key, count in used.items() if key not in ids}
        for key, count in missing.items():
            yield failed(
                "keys",
                f"{worker} lacks key {key!r}, which sealed {count:,} values: accounts that it refreshes become misconfigured "
                "(key_missing)",
                f"put {key!r} into its REFRESHD_KEYS, and restart it",
            )
        if writes not in ids and writes not in missing:
            yield warning(
                "keys",
                f"{worker} lacks key {writes!r}, which commands here seal with: it opens nothing that they store",
                f"put {writes!r} into its REFRESHD_KEYS, and restart it; only then `refreshd keys rotate`",
            )
