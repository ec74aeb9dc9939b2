"""What a run found, in words, and whether anything is not zero that must be."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from benchmarks.chaos.run import DOCUMENTED_RECOVERY_S, Outcome

#: So many examples of each violation are shown.
EXAMPLES: Final = 5


def violations(outcome: Outcome) -> dict[str, list[str]]:
    """Return everything that must be nothing, by name."""
    stage = outcome.stage
    losses = stage.losses
    overlapping = [f"{g.account}: {g.overlaps}" for g in stage.provider.grants.values() if g.overlaps]
    return {
        "overlapping refreshes": overlapping,
        "reuse without an injected lost answer": losses.reuses_unexplained,
        "grants lost without one": losses.grants_lost_unexplained,
        "grants lost at the provider with a grace": losses.graceful_grants_lost,
        "answers lost": outcome.answers_lost,
        "generations that went back": [*stage.records.went_back, *outcome.reader.went_back],
        "token sets rewritten in place": stage.records.rewritten,
        "accounts stuck at the end": outcome.stuck,
        "tokens missed between disturbances": [f"{m.account} at {m.at:.0f}" for m in outcome.between],
        "tokens missed after the documented recovery": [f"{m.account} at {m.at:.0f}" for m in outcome.late],
    }


def report(outcome: Outcome, *, title: str) -> str:
    """Return the whole report."""
    stage, reader = outcome.stage, outcome.reader
    losses = stage.losses
    injected = sum(losses.injected.values())
    lines = [
        title,
        "",
        (
            f"{stage.provider.refreshes} refreshes in {outcome.seconds / 60:.1f} minutes,"
            f" {len(outcome.recoveries)} disturbances, {reader.reads} reads"
        ),
        f"injected lost answers: {injected}"
        + "".join(f"\n  {cause}: {count}" for cause, count in sorted(losses.injected.items())),
        f"reuse after one: {losses.reuses_explained}; grants lost by one: {losses.grants_lost_by_injection}",
        (
            f"reads of accounts with a lost answer that found no token: {reader.excused};"
            f" Redis itself was away for {reader.blind_s} reads of everything"
        ),
        "",
        "must be zero:",
    ]
    for name, found in violations(outcome).items():
        lines.append(f"  {len(found):5}  {name}")
        lines += [f"         {example}" for example in found[:EXAMPLES]]
    lines += ["", "felt by readers (s): disturbances, median, worst; reads that found no token"]
    by_name: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for one in outcome.recoveries:
        by_name[one.name].append((one.recovered_s, one.missing))
    lines += [_recovery(name, felt) for name, felt in sorted(by_name.items())]
    if outcome.recoveries:
        lines.append(_recovery("all", [(one.recovered_s, one.missing) for one in outcome.recoveries]))
    lines.append(f"documented: {DOCUMENTED_RECOVERY_S:g} s")
    return "\n".join(lines)


def _recovery(name: str, felt: Sequence[tuple[float, int]]) -> str:
    seconds = [one[0] for one in felt]
    return (
        f"  {name:34} {len(felt):4} {statistics.median(seconds):7.1f} {max(seconds):7.1f}"
        f" {sum(one[1] for one in felt):7}"
    )
