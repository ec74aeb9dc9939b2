"""Check that no connector's user harmed the stream of reports lately."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from worker.context import AppContext
from worker.diagnostics.doctor.result import CheckResult, Level
from worker.durations import duration
from worker.redis.report_stream import IDS_AHEAD, TRIMMED, ReportStream
from worker.scheduling.rejected_tokens import GROUP

#: Told for so long, seconds.
NEWS_S: Final = 86_400.0
_WORDS: Final = {
    IDS_AHEAD: "an entry had chosen an id ahead of time, after which Redis may refuse every other report; workers made the "
    "stream anew, with the reports that waited",
    TRIMMED: "entries had been trimmed away, so that reports may be lost which no worker had read; a connector sends them again "
    "with the next answer 401",
}
_HINT: Final = (
    "find the connector that adds to it with an id of its own, or with MAXLEN or MINID other than `MAXLEN ~ 100000`: Redis' "
    "MONITOR shows them, and no ACL can forbid them. One that you do not trust reports through the API (docs/api.md), with a "
    "user of its own without `+xadd`"
)


def check_reports(here: AppContext) -> Iterator[CheckResult]:
    """Report when workers had to make the stream of reports anew, and why."""
    client: Any = here.redis
    now = client.time()[0]
    for why, at in sorted(ReportStream(here.redis, here.keys, GROUP).notes().items()):
        if now - at < NEWS_S and why in _WORDS:
            yield CheckResult(
                "reports",
                Level.WARNING,
                f"{duration(max(now - at, 0.0))} ago, in {here.keys.rejected}, {_WORDS[why]}",
                _HINT,
            )
