"""The bar: ratios of one round, medians over all rounds, and whether they are good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Final

from benchmarks.contestants import Sample

#: refreshd against the obvious way with 8 processes, refreshes per second: at least.
MIN_SPEED_RATIO: Final = 10.0
#: refreshd against the floor, CPU per refresh of the worker: at most.
MAX_CPU_RATIO: Final = 1.0
#: refreshd against an earlier revision of itself, refreshes per second: at least.
MIN_GAIN: Final = 1.5
#: What is left of standard refreshes a second while ten callbacks hang: at least.
MIN_LEFT: Final = 0.9
#: How improbable agreement by chance has to be before measuring ends early.
_BY_CHANCE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Ratios:
    """Medians of the ratios of single rounds: two contestants of one round met the same noise."""

    cpu: float
    #: Refreshes a second over those of the obvious way; None: it took no part.
    speed: float | None = None
    #: Refreshes a second over those of an earlier revision; None: none took part.
    gain: float | None = None

    @classmethod
    def of(
        cls,
        refreshd: Sequence[Sample],
        floor: Sequence[Sample],
        *,
        obvious: Sequence[Sample] = (),
        earlier: Sequence[Sample] = (),
    ) -> Ratios:
        return cls(
            cpu=median(ours.cpu_ms / least.cpu_ms for ours, least in zip(refreshd, floor, strict=True)),
            speed=_faster(refreshd, obvious),
            gain=_faster(refreshd, earlier),
        )

    @property
    def met(self) -> bool:
        return all(is_met for _, is_met in self.verdicts())

    def verdicts(self) -> list[tuple[str, bool]]:
        """Return each ratio in words, with its bar, and whether it is met."""
        found = [
            (f"{self.cpu:.2f} times the CPU of (b), at most {MAX_CPU_RATIO:g}", self.cpu <= MAX_CPU_RATIO)
        ]
        for ratio, least, what in (
            (self.speed, MIN_SPEED_RATIO, "(a) -c 8"),
            (self.gain, MIN_GAIN, "the earlier revision"),
        ):
            if ratio is not None:
                words = f"{ratio:.2f} times the refreshes of {what}, at least {least:g}"
                found.append((words, ratio >= least))
        return found


def _faster(refreshd: Sequence[Sample], others: Sequence[Sample]) -> float | None:
    if not others:
        return None
    return median(
        ours.refreshes_per_s / theirs.refreshes_per_s for ours, theirs in zip(refreshd, others, strict=True)
    )


def median_sample(samples: Sequence[Sample]) -> Sample:
    """Return the medians of speed and of cost, each by itself."""
    return Sample(median(s.refreshes_per_s for s in samples), median(s.cpu_ms for s in samples))


def left(speeds: Sequence[tuple[float, float]]) -> list[float]:
    """Return what is left of each (speed beside callbacks, speed without)."""
    return [beside / without for beside, without in speeds]


def agree(ratios: Sequence[float], bar: float = MIN_LEFT) -> bool:
    """Return whether enough ratios lie on one side of the bar: a sign test, one-sided, at 5 %."""
    below, rounds = sum(ratio < bar for ratio in ratios), len(ratios)
    fewest = min(below, rounds - below)
    chance: float = sum(comb(rounds, n) for n in range(fewest + 1)) / 2**rounds
    return chance <= _BY_CHANCE
