"""The bar: ratios of one round, medians over all rounds, and whether they are good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.contestants import Sample

#: refreshd against the obvious way with 8 processes, refreshes per second: at least.
MIN_SPEED_RATIO: Final = 10.0
#: refreshd against the floor, CPU per refresh of the worker: at most.
MAX_CPU_RATIO: Final = 2.0


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
    """Give the medians of speed and of cost, each by itself."""
    return Sample(median(s.refreshes_per_s for s in samples), median(s.cpu_ms for s in samples))
