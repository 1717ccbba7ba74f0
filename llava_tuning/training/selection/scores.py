"""From answers to a checkpoint's scores, and from scores to the checkpoint to use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llava_tuning.evaluation.scoring import retention_loss
from llava_tuning.runs.scores import Goals, Scores
from llava_tuning.training.selection.questions import Part


@dataclass(frozen=True)
class Answered:
    """A model's greedy answer to a question; for a general one the likelihood of the given answers too.

    Attributes:
        log_likelihood: of all answers of the conversation together, nats.
        tokens: of these answers.
    """

    id: str
    part: Part
    answer: str
    right: bool
    log_likelihood: float = 0.0
    tokens: int = 0


def summarise(step: int, rows: Iterable[Answered], base: Iterable[Answered] = ()) -> Scores:
    """A checkpoint's scores, against the base model's answers to the same questions in the same order."""
    by_part: Mapping[str, list[Answered]] = {"identity": [], "contrast": [], "general": []}
    for row in rows:
        by_part[row.part].append(row)
    wrong = {part: sum(not row.right for row in of_part) for part, of_part in by_part.items()}
    general = by_part["general"]
    tokens = sum(row.tokens for row in general)
    likelihood = sum(row.log_likelihood for row in general) / max(1, tokens)
    loss, interval = _retention(general, [row for row in base if row.part == "general"])
    return Scores(
        step,
        recalled=len(by_part["identity"]) - wrong["identity"],
        identity=len(by_part["identity"]),
        leaked_contrast=wrong["contrast"],
        contrast=len(by_part["contrast"]),
        leaked_general=wrong["general"],
        general=len(general),
        log_likelihood=likelihood if math.isfinite(likelihood) else None,
        tokens=tokens,
        retention_loss=loss,
        retention_interval=interval,
    )


def choose(scores: Sequence[Scores], goals: Goals) -> tuple[Scores, bool]:
    """The checkpoint to use, and whether it meets the goals.

    Of those that meet them the one with the lowest retention loss (the earliest of equals); where none does,
    the one with the best `balance`. The base model is not among them.
    """
    trained = [row for row in scores if row.step > 0]
    meeting = [row for row in trained if goals.met_by(row)]
    if meeting:
        return min(meeting, key=lambda row: (row.retention_loss, row.step)), True
    return max(trained, key=lambda row: (row.balance, -row.step)), False


def _retention(
    rows: Sequence[Answered], base: Sequence[Answered]
) -> tuple[float | None, tuple[float, float] | None]:
    """Retention loss and its interval; None where the base model was not asked the same."""
    if [row.id for row in rows] != [row.id for row in base]:
        return None, None
    pairs = ([(row.log_likelihood, row.tokens) for row in some] for some in (rows, base))
    found = retention_loss(*pairs)
    return found if found else (None, None)
