"""Text without pictures: does the model still talk as its language model did, and not of pictures?"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llava_tuning.data.load import load_records
from llava_tuning.data.records import Record
from llava_tuning.evaluation.demo.suite import Item, Suite
from llava_tuning.evaluation.scoring import retention_loss

if TYPE_CHECKING:
    from llava_tuning.inference.loading import LoadedModel

GENERAL = Path(__file__).resolve().parents[3] / "assets" / "demo" / "general_held_out.jsonl"
MAX_LENGTH = 256  # tokens of a conversation whose likelihood counts
_PICTURE_TALK = re.compile(
    r"\b(images?|pictures?|photos?|photographs?|drawings?|shapes?|circles?|triangles?|rectangles?)\b|图|照片",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Retention:
    """Retention loss, its 95 % interval, and on how much it was measured."""

    loss: float
    interval: tuple[float, float]
    conversations: int
    tokens: int


def talk_suite(limit: int, seed: int) -> Suite:
    """General questions without a picture: right where the answer does not speak of pictures or shapes.

    Questions whose own words, or whose given answer's, are about them are left out.
    """
    items = []
    for record in _sample(len(load_records(GENERAL)), seed):
        question, answer = (turn.value for turn in record.conversations[-2:])
        if len(record.conversations) == 2 and not _PICTURE_TALK.search(question + answer):
            items.append(Item(record.id, question, answer, "text"))

    def judge(item: Item, answer: str) -> bool:
        return bool(answer.strip()) and not _PICTURE_TALK.search(answer)

    return Suite("no picture talk", "en", items[:limit], None, judge, max_new_tokens=32)


def retention(
    model: LoadedModel,
    base: LoadedModel,
    limit: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Retention | None:
    """The model's likelihood of held-out general answers against the base model's; None if not comparable.

    Args:
        progress: called with the number of conversations read by either of the two.
    """
    from llava_tuning.inference.likelihood import log_likelihoods

    conversations = [record.messages() for record in _sample(limit, seed)]
    mine = log_likelihoods(model, conversations, MAX_LENGTH, progress)
    its = log_likelihoods(base, conversations, MAX_LENGTH, lambda done: progress(len(mine) + done))
    found = retention_loss(mine, its)
    if found is None:
        return None
    return Retention(*found, len(mine), sum(tokens for _, tokens in mine))


def _sample(limit: int, seed: int) -> list[Record]:
    records = load_records(GENERAL)
    return random.Random(f"general {seed}").sample(records, min(limit, len(records)))
