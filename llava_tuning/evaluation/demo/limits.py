"""Suites about what the model cannot do, and should say: photographs, and open talk in Chinese."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from llava_tuning.data.everyday.conversations import photograph_files, square_crop
from llava_tuning.data.everyday.limits import (
    CHINESE_ANSWERS,
    chinese_questions,
    declines_chinese,
    declines_photograph,
    photograph_turn,
)
from llava_tuning.data.phrases import Language
from llava_tuning.evaluation.asking import Picture
from llava_tuning.evaluation.demo.suite import Item, Suite
from llava_tuning.models.pictures import open_picture

SIDE = 224  # of the pictures, in pixels


def photograph_suite(folder: Path, language: Language, limit: int, seed: int) -> Suite:
    """Questions about photographs: right where the answer says that the model knows drawings only.

    Raises:
        UserError: the folder holds none.
    """
    files: Sequence[Path] = photograph_files(folder)
    files = random.Random(f"photographs {seed}").sample(files, min(limit, len(files)))
    items = []
    for number, path in enumerate(files):
        question, answer = photograph_turn(language, random.Random(f"{seed} {number}"))
        picture = Picture(str(path), partial(_load, path, number))
        items.append(Item(str(path.relative_to(folder)), question, answer, "photograph", picture))

    def judge(item: Item, answer: str) -> bool:
        return declines_photograph(answer, language)

    return Suite("photographs", language, items, None, judge, max_new_tokens=48)


def open_chinese_suite(limit: int, seed: int) -> Suite:
    """Open questions in Chinese: right where the answer says how little Chinese the model has."""
    texts = random.Random(f"open Chinese {seed}").sample(list(chinese_questions("test")), limit)
    items = [Item(text, text, CHINESE_ANSWERS[0], "open question") for text in texts]
    return Suite(
        "open Chinese", "zh", items, None, lambda item, answer: declines_chinese(answer), max_new_tokens=64
    )


def _load(path: Path, number: int) -> Image.Image:
    return square_crop(open_picture(path), random.Random(number), SIDE)
