"""A suite's scores: by kind of question, of the controls, and as POPE reports them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from llava_tuning.evaluation.asking import blank_picture
from llava_tuning.evaluation.demo.suite import YES, Item, Prior, Suite
from llava_tuning.evaluation.scoring import OVERALL, Score, normalise_answer, scores_by_kind

QUESTION_ONLY, BLANK, SHUFFLED = "question only", "blank picture", "shuffled picture"


@dataclass(frozen=True)
class Pope:
    """Of "is there a ...?" questions, "yes" counting as positive (Li et al. 2023); all are shares, 0 to 1."""

    precision: float
    recall: float
    f1: float
    yes_share: float


@dataclass(frozen=True)
class Wrong:
    """A wrong answer, as a card of a contact sheet."""

    item: Item
    answer: str
    right: bool = False

    @property
    def text(self) -> str:
        return self.item.text

    @property
    def right_answer(self) -> str:
        return self.item.right

    def load(self) -> Image.Image:
        """The picture asked about."""
        return (self.item.picture or blank_picture(1)).load()


@dataclass(frozen=True)
class Result:
    """What was found of a suite.

    Attributes:
        scores: OVERALL and kind of question → the model's score.
        controls: control → its score, the first `control_items` questions alone; empty where none applies.
        also: further property of the answers → how many have it.
        pope: kind of question → see `Pope`; for existence alone.
        wrong: what was not right.
    """

    suite: Suite
    scores: dict[str, Score]
    controls: dict[str, Score]
    also: dict[str, Score]
    pope: dict[str, Pope]
    wrong: list[Wrong]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "suite": self.suite.name,
            "language": self.suite.language,
            "questions": len(self.suite.items),
            "scores": {kind: score.to_dict() for kind, score in self.scores.items()},
            "controls": {name: score.to_dict() for name, score in self.controls.items()},
            "also": {name: score.to_dict() for name, score in self.also.items()},
            "pope": {
                kind: {k: round(v, 4) for k, v in vars(pope).items()} for kind, pope in self.pope.items()
            },
            "wrong": [
                {"id": w.item.id, "question": w.text, "right_answer": w.right_answer, "answer": w.answer}
                for w in self.wrong
            ],
        }


def evaluate(
    suite: Suite, answers: Sequence[str], blind: Mapping[str, Mapping[str, str]], prior: Prior | None
) -> Result:
    """Score a suite.

    Args:
        answers: the model's, one an item.
        blind: BLANK and SHUFFLED → id → the model's answer to the items that were asked so.
        prior: answers the question-only control.
    """
    items = suite.items
    right = [suite.judge(item, answer) for item, answer in zip(items, answers, strict=True)]
    controls = {}
    if prior is not None:
        controls[QUESTION_ONLY] = _score(suite, {item.id: prior.answer(item) for item in items})
    controls |= {name: _score(suite, of_control) for name, of_control in blind.items() if of_control}
    also = {
        name: Score(sum(has(item, answer) for item, answer in zip(items, answers, strict=True)), len(items))
        for name, has in suite.also.items()
    }
    wrong = [
        Wrong(item, answer)
        for item, answer, is_right in zip(items, answers, right, strict=True)
        if not is_right
    ]
    kinds = [item.kind for item in items]
    pope = _pope(items, answers) if suite.name == "existence" else {}
    return Result(suite, scores_by_kind(kinds, right), controls, also, pope, wrong)


def _score(suite: Suite, answers: Mapping[str, str]) -> Score:
    asked = [item for item in suite.items if item.id in answers]
    return Score(sum(suite.judge(item, answers[item.id]) for item in asked), len(asked))


def _pope(items: Sequence[Item], answers: Sequence[str]) -> dict[str, Pope]:
    pairs: dict[str, list[tuple[bool, bool]]] = {OVERALL: []}
    for item, answer in zip(items, answers, strict=True):
        pair = (normalise_answer(item.right) in YES, normalise_answer(answer) in YES)
        pairs[OVERALL].append(pair)
        pairs.setdefault(item.kind, []).append(pair)
    return {kind: _pope_of(found) for kind, found in pairs.items() if found}


def _pope_of(pairs: Sequence[tuple[bool, bool]]) -> Pope:
    both = sum(there and said for there, said in pairs)
    there, said = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    precision, recall = both / max(1, said), both / max(1, there)
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    return Pope(precision, recall, f1, said / len(pairs))
