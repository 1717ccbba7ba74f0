"""Pictures of one plain colour, in which nothing is: questions about what is there, in others' words."""

from __future__ import annotations

import random
from collections.abc import Mapping

from PIL import Image

from llava_tuning.data.everyday.questions import Asker
from llava_tuning.data.everyday.wordings import ANSWERS, QUESTIONS
from llava_tuning.data.phrases import DESCRIBE, Language
from llava_tuning.data.scene_words import WORDS
from llava_tuning.data.scenes import COLOURS, SHAPES

NOTHING: Mapping[Language, str] = {"en": "I see nothing in the picture.", "zh": "图片里什么都没有。"}
_GRAY_SHARE = 0.5  # of the plain pictures; the others have any colour


def blank_turn(asker: Asker, rng: random.Random) -> tuple[str, str]:
    """A question about a plain picture and its answer, in the words of everyday pictures or of scenes.

    What is it, is something there, what colour, how large or where is it, how many are there?
    """
    return rng.choice((_what, _thing, _shape, _number))(asker, rng)


def plain_picture(rng: random.Random, size: int) -> Image.Image:
    """A square of one colour, `size` pixels a side; gray, black or white in half of the cases."""
    if rng.random() < _GRAY_SHARE:
        return Image.new("RGB", (size, size), (rng.choice((0, 255, rng.randint(0, 255))),) * 3)
    return Image.new("RGB", (size, size), tuple(rng.randint(0, 255) for _ in range(3)))


def _what(asker: Asker, rng: random.Random) -> tuple[str, str]:
    wordings = rng.choice((QUESTIONS[asker.language]["name"], DESCRIBE[asker.language]))
    return rng.choice(wordings), NOTHING[asker.language]


def _thing(asker: Asker, rng: random.Random) -> tuple[str, str]:
    """Is there a dog? What colour is it?"""
    if rng.random() < 0.5:
        (question,) = asker.absent_thing([], rng, "random")
    else:
        question = asker.is_there(rng.choice(asker.known), ANSWERS[asker.language]["not there"], rng)
    return question.text, question.answer


def _shape(asker: Asker, rng: random.Random) -> tuple[str, str]:
    """Is there (not) a red circle? What colour is it, where is it?"""
    words = WORDS[asker.language]
    kind = rng.choice(("present", "present", "absent", "colour", "only shape", "position", "size"))
    shape, colour = rng.choice((*SHAPES, "shape")), rng.choice(COLOURS)
    name = f"{colour} {shape}"
    if kind == "colour" or (shape in SHAPES and rng.random() < 0.5):
        name = shape  # a colour is not asked of something that is called by it
    if kind == "only shape":
        name = "shape"
    asked = rng.choice(words.questions[kind]).format(**words.fields(name))
    if kind in ("present", "absent"):
        return asked, words.answer(kind, "no" if kind == "present" else "yes")
    return asked, ANSWERS[asker.language]["absent thing"].format(noun=words.noun(name))


def _number(asker: Asker, rng: random.Random) -> tuple[str, str]:
    words = WORDS[asker.language]
    asked = (*words.questions["count all"], *words.questions["count"], *QUESTIONS[asker.language]["count"])
    return rng.choice(asked).format(**words.fields(rng.choice(SHAPES))), "0"
