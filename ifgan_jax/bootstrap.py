"""Intervals by the percentile bootstrap over people, or whatever else is drawn. Numpy only."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95  # of the intervals


def weights(
    rng: np.random.Generator, count: int, resamples: int
) -> Int[np.ndarray, "{resamples} {count}"]:
    """How often each of `count` was drawn in each of `resamples` draws with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), resamples)


def interval(values: Sequence[float] | Float[np.ndarray, " r"]) -> tuple[float, float]:
    """The middle LEVEL of a statistic's values over the resamples."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
