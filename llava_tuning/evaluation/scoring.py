"""Compare answers, and say how sure a score is."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_Z95 = 1.959964  # standard normal quantile of 97.5 %


def normalise_answer(text: str) -> str:
    """Lower case, without punctuation and superfluous white space: " Yes." becomes "yes"."""
    return " ".join(text.lower().translate(_PUNCTUATION).split())


@dataclass(frozen=True)
class Score:
    """`correct` of `total` questions."""

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """Share of correct answers, 0 to 1 (NaN without questions)."""
        return self.correct / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy by Wilson (1927), which holds near 0 and 1 too."""
        if not self.total:
            return (0.0, 1.0)
        n, p, z2 = self.total, self.accuracy, _Z95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return (max(0.0, centre - half), min(1.0, centre + half))

    def to_dict(self) -> dict[str, float | int | list[float] | None]:
        """For JSON, shares rounded to four digits; None where there is no question."""
        accuracy = round(self.accuracy, 4) if self.total else None
        low, high = self.interval
        interval = [round(low, 4), round(high, 4)]
        return {"accuracy": accuracy, "interval_95": interval, "correct": self.correct, "total": self.total}
