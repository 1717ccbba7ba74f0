"""What was asked and answered in a run, kept in its directory so that nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llava_tuning.errors import UserError
from llava_tuning.runs.files import SCORES_FILE, read_rows
from llava_tuning.runs.scores import Scores
from llava_tuning.training.language_model import LanguageModelStep
from llava_tuning.training.selection.questions import Question
from llava_tuning.training.selection.scores import Answered

ANSWERS_FILE = "scored_answers.jsonl"
_HASHED = 64  # values of each weight


class Book:
    """`scored_answers.jsonl`: a row for each question that some weights have answered.

    An answer counts as long as neither the question nor the weights have changed.

    Raises:
        UserError: a row is no answer.
    """

    def __init__(self, work_dir: Path) -> None:
        self.path = work_dir / ANSWERS_FILE
        self._known: dict[tuple[str, str], Answered] = {}  # (weights, question)
        self._base: str | None = None  # weights of step 0
        for number, row in enumerate(read_rows(self.path), start=1):
            try:
                keys = row.pop("weights"), row.pop("question")
                self._note_base(row.pop("step"), keys[0])
                self._known[keys] = Answered(**row)
            except (AttributeError, KeyError, TypeError):
                raise UserError(
                    f"{self.path}: line {number} is no answer; remove it, or the file to ask everything again"
                ) from None
        if self.path.is_file() and (size := _whole_lines(self.path)) < self.path.stat().st_size:
            with self.path.open("r+b") as file:  # a torn last line
                file.truncate(size)

    def base_answers(self, questions: Sequence[Question]) -> list[Answered]:
        """What the model before training has answered, in their order; none unless all were asked."""
        found = [] if self._base is None else self.answers(self._base, questions)
        return found if len(found) == len(questions) else []

    def answers(self, weights: str, questions: Iterable[Question]) -> list[Answered]:
        """What the weights have answered of these questions, in their order."""
        found = (self._known.get((weights, question.fingerprint)) for question in questions)
        return [answered for answered in found if answered is not None]

    def unanswered(self, weights: str, questions: Iterable[Question]) -> list[Question]:
        """What they have not."""
        return [question for question in questions if (weights, question.fingerprint) not in self._known]

    def add(self, step: int, weights: str, question: Question, answered: Answered) -> None:
        """Write a row."""
        self._note_base(step, weights)
        self._known[weights, question.fingerprint] = answered
        keys = {"step": step, "weights": weights, "question": question.fingerprint}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**keys, **asdict(answered)}, ensure_ascii=False) + "\n")

    def _note_base(self, step: int, weights: str) -> None:
        if step == 0:
            self._base = weights


def _whole_lines(path: Path) -> int:
    """Bytes up to the last line end."""
    return path.read_bytes().rfind(b"\n") + 1


def weights_of(model: LanguageModelStep, base: bool = False) -> str:
    """A fingerprint of the weights that train; for the model without an adapter, of its language model's.

    The first values of each weight stand for it; a step of training changes all of them. Frozen layers may
    hold their weight as a buffer, in the same values or fewer bits.
    """
    digest = hashlib.sha256()
    buffers = [pair for pair in model.named_buffers() if pair[0].endswith(".weight")]
    for name, weight in sorted([*model.named_parameters(), *buffers]):
        if name.startswith("llm.") and "lora_" not in name if base else weight.requires_grad:
            head = weight.detach().flatten()[:_HASHED].float().cpu()
            digest.update(name.encode() + head.numpy().tobytes())
    return digest.hexdigest()[:16]


def read_scores(work_dir: Path) -> list[Scores]:
    """The rows of `scores.jsonl`; none when there is no such file."""
    return [Scores.from_dict(row) for row in read_rows(work_dir / SCORES_FILE)]


def write_scores(work_dir: Path, scores: Sequence[Scores]) -> None:
    """`scores.jsonl`, a row a checkpoint; rows of other steps, which a run left itself, stay."""
    rows: dict[int, dict[str, Any]] = {row["step"]: row for row in read_rows(work_dir / SCORES_FILE)}
    rows.update({row.step: row.to_dict() for row in scores})
    text = "".join(json.dumps(rows[step]) + "\n" for step in sorted(rows))
    _replace(work_dir / SCORES_FILE, text)


def write_json_file(path: Path, value: Any) -> None:
    """One JSON object, whole or not at all."""
    _replace(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
