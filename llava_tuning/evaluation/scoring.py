"""Compare answers, and say how sure a score is."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

OVERALL = "overall"
_PUNCTUATION = str.maketrans("", "", string.punctuation + "。，、！？：；“”‘’（）")
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


def scores_by_kind(kinds: Sequence[str], right: Sequence[bool]) -> dict[str, Score]:
    """Scores of all questions, as OVERALL, and of each kind, in order of first appearance."""
    found = {OVERALL: Score(sum(right), len(right))}
    for kind in dict.fromkeys(kinds):
        of_kind = [is_right for this, is_right in zip(kinds, right, strict=True) if this == kind]
        found[kind] = Score(sum(of_kind), len(of_kind))
    return found


def retention_loss(
    likelihoods: Sequence[tuple[float, int]], base: Sequence[tuple[float, int]]
) -> tuple[float, tuple[float, float]] | None:
    """How much less likely given answers are than to the base model, as a share, with its 95 % interval.

    Both are (log-likelihood in nats, tokens) of the same answers in the same order. The geometric mean of a
    token's probability is compared: a ratio of sums, its error from the pairs' own differences. None where it
    cannot be told.
    """
    tokens = sum(count for _, count in likelihoods)
    if not tokens:
        return None
    gains = [mine - its for (mine, _), (its, _) in zip(likelihoods, base, strict=True)]
    mean = sum(gains) / tokens
    if not math.isfinite(mean):
        return None
    squares = sum((gain - count * mean) ** 2 for gain, (_, count) in zip(gains, likelihoods, strict=True))
    error = _Z95 * math.sqrt(squares) / tokens
    loss, low, high = (0.0 - math.expm1(gain) for gain in (mean, mean + error, mean - error))
    return loss, (low, high)
