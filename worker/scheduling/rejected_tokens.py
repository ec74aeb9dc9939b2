"""Reports of connectors: tokens that an API rejected, read from `refreshd:rejected` the moment they arrive.

A consumer group gives each report to one worker. A report is acknowledged after its refresh was dispatched, so
one that a dying worker held is taken over by another.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from models.tables.attempt import Trigger
from refreshd_reader.contract import Keys, Rejection
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.monitoring.traces import TRACEPARENT, reported_by
from worker.redis.client import connect
from worker.redis.report_stream import ReportStream
from worker.scheduling.planner import Dispatch, Undeliverable

GROUP: Final = "refreshd"
#: One look blocks for this long; a stop is noticed within it. Shorter than the socket's own time-out.
BLOCK_MS: Final = 2_000
BATCH: Final = 1_000
#: A report that was handed to a worker and is not acknowledged after this long is another's.
TAKE_OVER_AFTER_MS: Final = 15_000
#: Reports of one generation within this time are one report, however many connectors send it.
SAME_REPORT_MS: Final = 5_000
_PAUSE_S: Final = 1.0

_Entry = tuple[str, Mapping[str, str]]


def connect_for_reports(url: str) -> Redis:
    """Return a connection that reads any bytes: a report that is no UTF-8 ends no thread.

    Bytes that are no UTF-8 become characters that no account id has.
    """
    return connect(url, encoding_errors="replace")


class ReportReader:
    """A thread of the worker that turns reports into urgent refreshes."""

    def __init__(self, redis: Redis, keys: Keys, dispatch: Dispatch, *, consumer: str) -> None:
        self._redis = redis
        self._keys = keys
        self._dispatch = dispatch
        self._consumer = consumer
        self._metrics = worker_metrics()
        self._stream = ReportStream(redis, keys, GROUP)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="refreshd-reports", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the look that is under way."""
        self._stopping.set()
        self._thread.join(timeout=BLOCK_MS / 1000 + _PAUSE_S)

    def _read_on(self) -> None:
        while not self._stopping.is_set():
            try:
                self._keep_in_order()
                self._handle(self._left_by_others())
                self._handle(self._new())
            except ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    log.error("reports_not_read", error=str(error))
                    self._stopping.wait(_PAUSE_S)
                self._make_group()
            except (RedisError, OSError) as error:
                log.warning("reports_not_read", error=str(error))
                self._stopping.wait(_PAUSE_S)

    def _keep_in_order(self) -> None:
        if mended := self._stream.look():
            log.warning("report_stream_made_anew", why=mended.why, kept=mended.kept)
            self._metrics.report_stream_mended(mended.why)

    def _make_group(self) -> None:
        """Make the group, from the stream's beginning: a report that came before the first worker counts."""
        try:
            self._redis.xgroup_create(self._keys.rejected, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                log.error("reports_not_read", error=str(error))
        except (RedisError, OSError) as error:
            log.warning("reports_not_read", error=str(error))

    def _new(self) -> Sequence[_Entry]:
        reply: Any = self._redis.xreadgroup(
            GROUP, self._consumer, {self._keys.rejected: ">"}, count=BATCH, block=BLOCK_MS
        )
        streams = reply.values() if isinstance(reply, dict) else [entries for _, entries in reply or ()]
        return [entry for entries in streams for entry in _flat(entries)]

    def _left_by_others(self) -> Sequence[_Entry]:
        reply: Any = self._redis.xautoclaim(
            self._keys.rejected, GROUP, self._consumer, min_idle_time=TAKE_OVER_AFTER_MS, count=BATCH
        )
        return [entry for entry in reply[1] if entry[1]]

    def _handle(self, entries: Sequence[_Entry]) -> None:
        if not entries:
            return
        read = [(report, fields.get(TRACEPARENT)) for _, fields in entries if (report := _read(fields))]
        reports = [report for report, _ in read]
        first = {(one.account, one.generation): (one, trace) for one, trace in reversed(read)}
        repeated = len(reports) - len(first)
        for (account, generation), (report, trace) in first.items():
            reported_by(trace)
            key = f"{self._keys.prefix}reported:{{{account}}}:{generation}"
            if self._redis.set(key, "1", nx=True, px=SAME_REPORT_MS):
                log.info(
                    "rejection_reported",
                    account=account,
                    generation=generation,
                    http_status=report.http_status,
                )
                try:
                    self._dispatch([(account, generation)], trigger=Trigger.REPORTED, callback=False)
                except Undeliverable as error:
                    # Unacknowledged, it comes again.
                    log.warning("report_not_dispatched", account=account, error=str(error))
                    self._redis.delete(key)
                    return
            else:
                repeated += 1
        self._metrics.reports_dropped("repeated", repeated)
        self._metrics.reports_dropped("unreadable", len(entries) - len(reports))
        self._redis.xack(self._keys.rejected, GROUP, *(entry_id for entry_id, _ in entries))


def _flat(entries: Any) -> list[_Entry]:
    """Entries of one stream; redis-py nests them once more in the newer protocol."""
    return list(entries[0]) if entries and isinstance(entries[0], list) else list(entries)


def _read(fields: Mapping[str, str]) -> Rejection | None:
    try:
        return Rejection.from_entry(fields)
    except (KeyError, ValueError):
        log.warning("report_unreadable", fields=sorted(fields))
        return None
