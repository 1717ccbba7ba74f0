"""A run as its directory tells it: how far it is, its losses, answers and scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from llava_tuning.runs.scores import Goals, Scores

State = Literal["running", "finished", "stopped", "interrupted", "waiting"]
Problem = Literal["no_config", "bad_config", "bad_rows", "bad_scores", "outside"]


@dataclass(frozen=True)
class Step:
    """A row of `loss.jsonl`. Values that older versions did not write are None.

    Attributes:
        loss: nats per supervised token.
        lr: learning rate.
        samples, tokens: of all processes.
        memory_gib: the most that the main process has taken so far.
        seconds, waited: of the step, and of these without data to work on.
    """

    step: int
    loss: float
    lr: float | None = None
    samples: float | None = None
    tokens: float | None = None
    memory_gib: float | None = None
    seconds: float | None = None
    waited: float | None = None

    @classmethod
    def from_row(cls, row: Any) -> Step | None:
        """None where the row is none."""
        if not isinstance(row, dict) or not _is_count(row.get("step")) or not _is_number(row.get("loss")):
            return None
        rest = {field.name: row.get(field.name) for field in fields(cls)[2:]}
        known = {
            name: float(value) for name, value in rest.items() if value is not None and _is_number(value)
        }
        finite = {name: value for name, value in known.items() if math.isfinite(value)}
        return cls(row["step"], float(row["loss"]), **finite)


@dataclass(frozen=True)
class SampledAnswer:
    """A row of `samples.jsonl`: the model's answer to a fixed question after `step` steps."""

    step: int
    image: str | None
    question: str
    answer: str

    @classmethod
    def from_row(cls, row: Any) -> SampledAnswer | None:
        """None where the row is none."""
        if not isinstance(row, dict) or not _is_count(row.get("step")):
            return None
        image, question, answer = (row.get(key) for key in ("image", "question", "answer"))
        if not isinstance(question, str) or not isinstance(answer, str):
            return None
        return cls(row["step"], image if isinstance(image, str) else None, question, answer)


@dataclass(frozen=True)
class Choice:
    """What `select` chose, against which goals."""

    step: int
    checkpoint: str
    meets_goals: bool
    goals: Goals

    @classmethod
    def from_json(cls, value: Any) -> Choice | None:
        """None where it is none."""
        try:
            goals = Goals(**value["goals"])
            choice = cls(value["step"], value["chosen"], value["meets_goals"], goals)
        except (KeyError, TypeError):
            return None
        shares = [getattr(goals, field.name) for field in fields(goals)]
        sound = all(_is_number(share) and 0 <= share <= 1 for share in shares)
        sound = sound and _is_count(choice.step) and isinstance(choice.checkpoint, str)
        return choice if sound else None


@dataclass(frozen=True)
class Speed:
    """Means over a run's last steps; None where its rows do not say.

    Attributes:
        samples, tokens: a second, of all processes.
        waited: share of the time without data to work on, 0 to 1.
    """

    samples: float | None
    tokens: float | None
    waited: float | None


@dataclass(frozen=True)
class Run:
    """All that is shown of a run.

    Attributes:
        total_steps: how many it is to make; None where its config does not say.
        steps, answers, scores: in the order of steps.
        problems: what of the directory cannot be read, and the file's name.
        image_folder, images: where the sampled answers' pictures lie, and their names there, by its config.
        shown_folders: only pictures that lie in one of these are shown.
    """

    name: str
    state: State
    stage: str | None = None
    total_steps: int | None = None
    steps: tuple[Step, ...] = ()
    answers: tuple[SampledAnswer, ...] = ()
    scores: tuple[Scores, ...] = ()
    choice: Choice | None = None
    problems: tuple[tuple[Problem, str], ...] = ()
    image_folder: Path | None = None
    images: frozenset[str] = frozenset()
    shown_folders: tuple[Path, ...] = ()

    @property
    def last(self) -> Step | None:
        """The newest step."""
        return self.steps[-1] if self.steps else None

    def speed(self, over: int = 50) -> Speed:
        """Of the last steps."""
        timed = [step for step in self.steps[-over:] if step.seconds]
        seconds = sum(step.seconds or 0.0 for step in timed)

        def rate(name: str) -> float | None:
            values = [getattr(step, name) for step in timed]
            return None if not seconds or None in values else sum(values) / seconds

        return Speed(rate("samples"), rate("tokens"), rate("waited"))

    @property
    def loss(self) -> float | None:
        """The last steps' loss, smoothed."""
        return smooth([step.loss for step in self.steps[-200:]], 0.95)[-1] if self.steps else None


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """The exponential moving average, without the pull of its start; what is not finite is passed over.

    Args:
        weight: of what was before, 0 to 1.
    """
    out: list[float] = []
    total = share = 0.0
    for value in values:
        if math.isfinite(value):
            total = weight * total + (1 - weight) * value
            share = weight * share + (1 - weight)
        out.append(total / share if share else math.nan)
    return out


def read_score(row: Any) -> Scores | None:
    """A row of `scores.jsonl`; None where it is none."""
    if not isinstance(row, Mapping) or not _is_count(row.get("step")):
        return None
    try:
        scores = Scores.from_dict(row)
        values: list[Any] = [scores.recall, scores.balance, *(scores.retention_interval or ())]
    except (KeyError, TypeError, IndexError, ArithmeticError):
        return None
    return scores if all(_is_number(value) for value in values) else None


def _is_number(value: Any) -> bool:
    """NaN and infinity, which a training can reach, count as well; integers that no float holds do not."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float)


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0
