"""Suites about drawn pictures that need no files: easy-VQA and scenes of an unseen seed."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial

from llava_tuning.data.drawing import draw
from llava_tuning.data.easy_vqa import easy_vqa_questions, in_chinese
from llava_tuning.data.phrases import DESCRIBE, Language
from llava_tuning.data.scene_text import captions, questions
from llava_tuning.data.scene_words import CHINESE
from llava_tuning.data.scenes import COLOURS, MAX_OBJECTS, SHAPES, Scene, scene
from llava_tuning.evaluation.asking import Picture
from llava_tuning.evaluation.demo.suite import Item, Suite
from llava_tuning.evaluation.easy_vqa import picture_of, sample_questions

# No recipe of the project trains on these seeds.
SCENE_SEED, PRIOR_SEED = 970_000_001, 970_000_002
SIDE = 224  # of the pictures, in pixels
_PRIOR_SCENES = 2_000
_NUMBERS = {"a": 1, "an": 1, "the": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_ZH_NUMBERS = {"一": 1, "两": 2, "三": 3, "四": 4, "五": 5}


def easy_vqa_suite(language: Language, limit: int, seed: int) -> Suite:
    """The official test questions, or a sample of them."""
    chosen = sample_questions(limit, seed)
    random.Random(f"easy-VQA order {seed}").shuffle(chosen)
    if language == "zh":
        chosen = [in_chinese(question) for question in chosen]
    items = [Item(q.id, q.text, q.answer, q.type, picture_of(q)) for q in chosen]
    return Suite("easy-VQA", language, items, partial(_easy_vqa_seen, language), max_new_tokens=12)


def scene_suite(language: Language, limit: int) -> Suite:
    """As many questions of each skill, the first that the scenes give, at most one of a skill each scene."""
    by_skill: dict[str, list[Item]] = {}
    each = max(1, limit // len(_skills()))
    index = 0
    while len(by_skill) < len(_skills()) or any(len(found) < each for found in by_skill.values()):
        drawn = scene(SCENE_SEED, index)
        for q in questions(drawn, language):
            found = by_skill.setdefault(q.skill, [])
            if len(found) < each and not (found and found[-1].id.startswith(f"{index}-")):
                found.append(Item(f"{index}-{len(found)}", q.text, q.answer, q.skill, _picture(drawn)))
        index += 1
    # One of each skill in turn, so that the first ones are a fair sample.
    items = [by_skill[skill][number] for number in range(each) for skill in _skills()]
    items = [Item(f"{item.kind} {item.id}", item.text, item.right, item.kind, item.picture) for item in items]
    return Suite("scenes", language, items, partial(_scenes_seen, language), max_new_tokens=16)


def scene_caption_suite(language: Language, limit: int) -> Suite:
    """Descriptions of scenes: right when they name what is there, each thing as often as it is there."""
    items = []
    for index in range(limit):
        drawn = scene(SCENE_SEED, 1_000_000 + index)
        wordings = DESCRIBE[language]
        text = wordings[index % len(wordings)]
        items.append(Item(str(index), text, captions(drawn, language)[0], "caption", _picture(drawn)))
    judge = partial(_names_the_same, language)
    return Suite(
        "scene captions", language, items, partial(_captions_seen, language), judge, max_new_tokens=96
    )


def things_named(text: str, language: Language) -> Counter[str]:
    """Colour and shape, in English → how many of them a description names."""
    found: Counter[str] = Counter()
    if language == "zh":  # one is meant where there is no number
        colours, shapes = ({CHINESE.noun(word): word for word in words} for words in (COLOURS, SHAPES))
        pattern = (
            rf"(?:([{''.join(_ZH_NUMBERS)}])个)?(?:[大中小]号)?({'|'.join(colours)})({'|'.join(shapes)})"
        )
        for number, colour, shape in re.findall(pattern, text):
            found[f"{colours[colour]} {shapes[shape]}"] += _ZH_NUMBERS.get(number, 1)
        return found
    pattern = (
        rf"\b({'|'.join(_NUMBERS)})(?: small| medium| large)? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
    )
    for number, colour, shape in re.findall(pattern, text.lower()):
        found[f"{colour} {shape}"] += _NUMBERS[number]
    return found


def _names_the_same(language: Language, item: Item, answer: str) -> bool:
    return things_named(answer, language) == things_named(item.right, language)


def _picture(drawn: Scene) -> Picture:
    return Picture(f"scene {drawn.seed} {drawn.index}", partial(draw, drawn, SIDE))


@cache
def _skills() -> tuple[str, ...]:
    return tuple(sorted({q.skill for index in range(200) for q in questions(scene(PRIOR_SEED, index))}))


def _easy_vqa_seen(language: Language) -> Iterator[tuple[str, str, str]]:
    for question in easy_vqa_questions("train"):
        asked = in_chinese(question) if language == "zh" else question
        yield asked.type, asked.text, asked.answer


def _scenes_seen(language: Language) -> Iterator[tuple[str, str, str]]:
    for index in range(_PRIOR_SCENES):
        for q in questions(scene(PRIOR_SEED, index), language):
            yield q.skill, q.text, q.answer


def _captions_seen(language: Language) -> Iterator[tuple[str, str, str]]:
    for index in range(_PRIOR_SCENES // MAX_OBJECTS):
        yield "caption", "", captions(scene(PRIOR_SEED, index), language)[0]
