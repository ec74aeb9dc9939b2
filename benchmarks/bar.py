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
MAX_CPU_RATIO: Final = 2.0
#: What is left of standard refreshes a second while ten callbacks hang: at least.
MIN_LEFT: Final = 0.9
#: How improbable agreement by chance has to be before measuring ends early.
_BY_CHANCE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Ratios:
    """Medians of the ratios of single rounds: two contestants of one round met the same noise."""

    speed: float
    cpu: float

    @classmethod
    def of(cls, refreshd: Sequence[Sample], obvious: Sequence[Sample], floor: Sequence[Sample]) -> Ratios:
        return cls(
            speed=median(
                ours.refreshes_per_s / theirs.refreshes_per_s
                for ours, theirs in zip(refreshd, obvious, strict=True)
            ),
            cpu=median(ours.cpu_ms / least.cpu_ms for ours, least in zip(refreshd, floor, strict=True)),
        )

    @property
    def met(self) -> bool:
        return self.speed >= MIN_SPEED_RATIO and self.cpu <= MAX_CPU_RATIO


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
