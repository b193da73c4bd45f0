"""In which units a judge's numbers are compared: the width of what the generator shows."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from models.errors import UserError

QUANTILES = 0.05, 0.95
# A number whose range is below this share of its size does not vary: it differs by rounding.
LEAST_RANGE = 1e-5


@dataclass(frozen=True)
class Scale:
    """Of a judge's numbers, those that vary (J).

    names, units; kept: their indices among all; low, high: the ends of their range, over the generator's samples or, of
    a judge that is `scaled`, 0 and 1; left_out: names of the numbers that do not vary.
    """

    names: list[str]
    units: list[str]
    kept: np.ndarray
    low: np.ndarray
    high: np.ndarray
    left_out: list[str]

    @classmethod
    def of_samples(cls, judge, numbers):
        """From a judge's numbers (N, all) of a generator's samples: their 5% to 95% ranges, unless the judge is scaled.

        Raises UserError where no number varies.
        """
        if judge.scaled:
            low, high = np.zeros(numbers.shape[1]), np.ones(numbers.shape[1])
            spread = np.ptp(numbers, axis=0)
        else:
            low, high = np.quantile(numbers.astype(float), QUANTILES, axis=0)
            spread = high - low
        varies = spread > LEAST_RANGE * np.abs(numbers).max(axis=0)
        if not varies.any():
            raise UserError("none of the judge's numbers varies over the generator's samples, so it cannot judge this "
                            "generator: choose another one with --judge")
        kept = np.flatnonzero(varies)
        return cls(
            names=_distinct([judge.names[i] for i in kept]),
            units=[judge.units[i] for i in kept],
            kept=kept,
            low=low[kept],
            high=high[kept],
            left_out=[name for name, does in zip(judge.names, varies) if not does],
        )

    def __call__(self, numbers):
        """Numbers (..., all) as the judge gives them -> (..., J) in units of their range."""
        return numbers[..., self.kept] / (self.high - self.low)

    def index(self, number):
        """Where a number, by its index among all, stands among those that vary; None where it does not vary."""
        found = np.flatnonzero(self.kept == number)
        return int(found[0]) if len(found) else None


def _distinct(names):
    """Names of which none stands twice: a later one gets its number."""
    seen = Counter()
    seen_names = []
    for name in names:
        seen[name] += 1
        seen_names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return seen_names
