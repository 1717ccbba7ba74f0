"""easy-VQA's official test questions, scored beside what needs no eyes.

A model that sees must beat three controls: always "yes"; the most frequent training answer to the question's
text; and itself, shown a blank picture. Answers are greedy and must be exactly one of the 13, after
`normalise_answer`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from PIL import Image

from llava_tuning.data.easy_vqa import Question, easy_vqa_questions
from llava_tuning.errors import UserError
from llava_tuning.evaluation.asking import Picture, ask, blank_picture
from llava_tuning.evaluation.scoring import OVERALL, Score, normalise_answer, scores_by_kind
from llava_tuning.inference.backend import ChatBackend, GenerationSettings
from llava_tuning.models.pictures import open_picture

TYPES = ("yes/no", "shape", "colour")
MODEL, ALWAYS_YES, QUESTION_ONLY, BLANK = "model", "always yes", "question only", "blank picture"
SETTINGS = GenerationSettings(max_new_tokens=8, temperature=0.0)
SIDE = 64  # of easy-VQA's pictures, in pixels

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with the model's answer, as it came."""

    question: Question
    answer: str

    @property
    def right(self) -> bool:
        return normalise_answer(self.answer) == self.question.answer

    @property
    def text(self) -> str:
        return self.question.text

    @property
    def right_answer(self) -> str:
        return self.question.answer

    def load(self) -> Image.Image:
        """The picture asked about."""
        return picture_of(self.question).load()


@dataclass
class EasyVqaReport:
    """What `evaluate_easy_vqa` found.

    `scores` maps each of "model" and the controls to its score for "overall" and each question type.
    `unparseable` counts the model's answers that are none of the 13.
    """

    model: str
    seed: int
    questions: int
    unparseable: int
    scores: dict[str, dict[str, Score]]
    rows: list[AnsweredQuestion] = field(repr=False)

    @property
    def accuracy(self) -> float:
        """The model's accuracy over all questions, 0 to 1."""
        return self.scores[MODEL]["overall"].accuracy

    def to_dict(self, rows: bool = True) -> dict[str, Any]:
        """For JSON: scores with their intervals and, if wanted, each question and answer."""
        out: dict[str, Any] = {
            "benchmark": "easy-VQA, official test questions",
            "model": self.model,
            "questions": self.questions,
            "seed": self.seed,
            "unparseable": self.unparseable,
            "scores": {who: {k: s.to_dict() for k, s in by.items()} for who, by in self.scores.items()},
        }
        if rows:
            out["answers"] = [
                {
                    "id": row.question.id,
                    "question": row.question.text,
                    "answer": row.answer,
                    "right_answer": row.question.answer,
                    "right": row.right,
                }
                for row in self.rows
            ]
        return out


def evaluate_easy_vqa(
    backend: ChatBackend,
    limit: int | None = None,
    seed: int = 0,
    controls: bool = True,
    *,
    batch_size: int = 32,
    progress: Progress = lambda done, total: None,
) -> EasyVqaReport:
    """Ask `backend` the test questions and score it beside the controls.

    Args:
        limit: ask a random sample of so many questions; None asks all 9,673.
        seed: chooses the sample; the same seed and limit give the same questions for every model.
        controls: score the controls as well; False only where they stand beside this report anyway.
        batch_size: questions at a time.
        progress: called with (questions asked, questions to ask).

    Raises:
        UserError: the model takes no pictures, or `limit` is not positive.
    """
    if not backend.sees:
        raise UserError(f"{backend.name} is a text model, which takes no pictures; evaluate a LLaVA model")
    questions = sample_questions(limit, seed)
    texts = sorted({question.text for question in questions}) if controls else []
    total = len(questions) + len(texts)

    answers = ask(
        backend,
        [(question.text, picture_of(question)) for question in questions],
        SETTINGS,
        batch_size,
        lambda done: progress(done, total),
    )
    rows = [AnsweredQuestion(question, answer) for question, answer in zip(questions, answers, strict=True)]
    scores = {MODEL: _score(questions, [normalise_answer(answer) for answer in answers])}
    if controls:
        scores[ALWAYS_YES] = _score(questions, ["yes"] * len(questions))
        majority = majority_answers()
        scores[QUESTION_ONLY] = _score(questions, [majority.get(q.text, "") for q in questions])
        # Blank pictures are all alike and answers greedy, so each text needs asking only once.
        blind = ask(
            backend,
            [(text, blank_picture(SIDE)) for text in texts],
            SETTINGS,
            batch_size,
            lambda done: progress(len(questions) + done, total),
        )
        by_text = {text: normalise_answer(answer) for text, answer in zip(texts, blind, strict=True)}
        scores[BLANK] = _score(questions, [by_text[question.text] for question in questions])
    known = {question.answer for question in easy_vqa_questions("test")}
    unparseable = sum(normalise_answer(answer) not in known for answer in answers)
    return EasyVqaReport(backend.name, seed, len(questions), unparseable, scores, rows)


def sample_questions(limit: int | None, seed: int) -> list[Question]:
    """The test questions, or a seeded random sample of `limit` of them, in the official order.

    Raises:
        UserError: `limit` is not positive.
    """
    questions = easy_vqa_questions("test")
    if limit is None or limit >= len(questions):
        return questions
    if limit < 1:
        raise UserError(f"limit is {limit}; ask at least 1 question")
    chosen = sorted(random.Random(seed).sample(range(len(questions)), limit))
    return [questions[i] for i in chosen]


def picture_of(question: Question) -> Picture:
    """The picture that a question is about."""
    return Picture(str(question.image_path), partial(open_picture, question.image_path))


def majority_answers() -> dict[str, str]:
    """The most frequent answer to each question's text in the training split."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for question in easy_vqa_questions("train"):
        counts[question.text][question.answer] += 1
    return {text: counter.most_common(1)[0][0] for text, counter in counts.items()}


def _score(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, Score]:
    right = [answer == question.answer for question, answer in zip(questions, answers, strict=True)]
    found = scores_by_kind([question.type for question in questions], right)
    return {name: found.get(name, Score(0, 0)) for name in (OVERALL, *TYPES)}
