"""easy-VQA (PyPI package `easy-vqa`, MIT licence, https://github.com/vzhou842/easy-VQA) as LLaVA records.

4,000 training and 1,000 test pictures of 64×64 pixels, each one coloured shape on a pale background, with
38,575 and 9,673 questions and 13 possible answers. The official split is kept: nothing that is trained on
comes from a test picture.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from llava_tuning.data.phrases import DESCRIBE, LANGUAGES, Language, LanguageChoice, as_typed, with_article
from llava_tuning.data.records import Record, make_record, write_json
from llava_tuning.errors import UserError

Split = Literal["train", "test"]
QuestionType = Literal["yes/no", "shape", "colour"]

SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
_NEGATION = re.compile(r"\b(not|no)\b")

# What a caption may say, by what the questions reveal about the picture.
_CAPTIONS_BOTH = (
    "{a_colour} {shape}",
    "{A_colour} {shape}.",
    "{A_colour} {shape} on a plain background.",
    "The image shows {a_colour} {shape}.",
    "The picture contains {a_colour} {shape}.",
    "There is {a_colour} {shape} in the image.",
    "This is a picture of {a_colour} {shape}.",
    "One {shape}, colored {colour}.",
    "A {shape} that is {colour}.",
    "The shape is a {shape} and its color is {colour}.",
    "A single {colour} {shape} on a light background.",
    "I see {a_colour} {shape}.",
)
_CAPTIONS_SHAPE = ("a {shape}", "The image shows a {shape}.", "There is one {shape}.", "I see a {shape}.")
_CAPTIONS_COLOUR = (
    "{a_colour} shape",
    "The image shows {a_colour} shape.",
    "There is one {colour} shape.",
    "I see {a_colour} shape.",
)
_CAPTIONS_NEITHER = ("a shape", "A single shape on a plain background.", "The image shows one shape.")
_ZH_CAPTIONS = (
    "一个{name}",
    "{name}。",
    "图中有一个{name}。",
    "图片里有一个{name}。",
    "画面中可以看到一个{name}。",
    "浅色背景上的一个{name}。",
    "这张图画的是一个{name}。",
)


@dataclass(frozen=True)
class Question:
    """One easy-VQA question about one picture; `id` is unique over both splits."""

    id: str
    image_path: Path
    text: str
    answer: str
    type: QuestionType


def easy_vqa_questions(split: Split) -> list[Question]:
    """All questions of an official split, in the package's order.

    Raises:
        UserError: the package `easy-vqa` is not installed.
    """
    folder = _package_data() / split
    rows = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    seen: dict[int, int] = {}
    questions = []
    for text, answer, image_id in rows:
        number = seen[image_id] = seen.get(image_id, -1) + 1
        path = folder / "images" / f"{image_id}.png"
        questions.append(Question(f"{split}-{image_id}-{number}", path, text, answer, _answer_type(answer)))
    return questions


def in_chinese(question: Question) -> Question:
    """The question and its answer in Chinese; id, picture and type stay."""
    from llava_tuning.data.scene_words import chinese_twin  # scenes take their names from this module

    text, answer = chinese_twin(question.text, question.answer)
    return replace(question, text=text, answer=answer)


def write_easy_vqa(
    out: Path, seed: int = 0, limit: int | None = None, language: LanguageChoice = "en"
) -> dict[str, Path]:
    """Write easy-VQA as LLaVA records; pictures are named relative to `out`.

    Files: `pretrain.json` (a caption for every training picture), `finetune.json` (all questions of a
    training picture as turns of one conversation), `test.json` (the same for the test pictures),
    `test_questions.jsonl` (one row a test question: id, image, question, answer, type) and
    `images/{train,test}/*.png`.

    Args:
        out: folder to write to; files of these names are replaced.
        seed: chooses phrasings, capital letters and the order of questions.
        limit: take the first `limit` pictures of each split; None takes all.
        language: of the records to train on; "both" has each picture once in English and once in Chinese.
            `test.json` and `test_questions.jsonl` are the official, English ones.

    Returns:
        name → path of the four data files, keys `pretrain`, `finetune`, `test`, `test_questions`.

    Raises:
        UserError: the package is not installed, or `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} pictures leaves no data; give 1 or more")
    train, test = (_by_picture(split, limit) for split in ("train", "test"))
    for split, pictures in (("train", train), ("test", test)):
        folder = out / "images" / split
        folder.mkdir(parents=True, exist_ok=True)
        for path in pictures:
            shutil.copyfile(path, folder / path.name)
    paths = {
        "pretrain": out / "pretrain.json",
        "finetune": out / "finetune.json",
        "test": out / "test.json",
        "test_questions": out / "test_questions.jsonl",
    }
    codes = LANGUAGES[language]
    write_json(paths["pretrain"], [_caption_record(p, q, seed, c) for p, q in train.items() for c in codes])
    write_json(
        paths["finetune"],
        [_conversation_record("train", p, q, seed, c) for p, q in train.items() for c in codes],
    )
    write_json(paths["test"], [_conversation_record("test", p, q, seed) for p, q in test.items()])
    with paths["test_questions"].open("w", encoding="utf-8") as file:
        for path, questions in test.items():
            for q in questions:
                row = {"id": q.id, "image": f"images/test/{path.name}", "question": q.text}
                file.write(json.dumps(row | {"answer": q.answer, "type": q.type}) + "\n")
    return paths


def known_facts(questions: Sequence[Question]) -> tuple[str | None, str | None]:
    """(shape, colour) of the one object, as far as its questions and answers tell; None where they do not.

    A "yes" or an open answer settles a fact, a "no" rules one value out; what is left over counts when it is
    the only one left.
    """
    shapes, colours = set(SHAPES), set(COLOURS)
    for question in questions:
        words = set(re.findall(r"[a-z]+", question.text))
        present = True
        if question.type == "yes/no":
            present = (question.answer == "yes") != bool(_NEGATION.search(question.text))
        else:
            words.add(question.answer)  # "what is the red shape?" presumes red, its answer adds the shape
        for left in (shapes, colours):
            if named := left & words:
                left.intersection_update(named) if present else left.difference_update(named)
    return (
        shapes.pop() if len(shapes) == 1 else None,
        colours.pop() if len(colours) == 1 else None,
    )


def _caption_record(path: Path, questions: Sequence[Question], seed: int, language: Language) -> Record:
    rng = random.Random(f"easy-vqa caption {seed} {path.stem}")
    shape, colour = known_facts(questions)
    if language == "zh":
        from llava_tuning.data.scene_words import CHINESE

        caption = rng.choice(_ZH_CAPTIONS).format(name=CHINESE.noun(f"{colour or ''} {shape or 'shape'}"))
    else:
        caption = _english_caption(shape, colour, rng)
    name = f"easy-vqa-caption-{path.stem}{'' if language == 'en' else f'-{language}'}"
    turns = as_typed([(rng.choice(DESCRIBE[language]), caption)], f"{seed} {name}")
    return make_record(name, f"images/train/{path.name}", turns)


def _english_caption(shape: str | None, colour: str | None, rng: random.Random) -> str:
    templates: tuple[str, ...]
    if shape and colour:
        templates = _CAPTIONS_BOTH
    elif shape:
        templates = _CAPTIONS_SHAPE
    else:
        templates = _CAPTIONS_COLOUR if colour else _CAPTIONS_NEITHER
    a_colour = with_article(colour or "")
    return rng.choice(templates).format(
        shape=shape, colour=colour, a_colour=a_colour, A_colour=a_colour.capitalize()
    )


def _conversation_record(
    split: Split, path: Path, questions: Sequence[Question], seed: int, language: Language = "en"
) -> Record:
    if language == "zh":
        questions = [in_chinese(question) for question in questions]
    turns = [(q.text, q.answer) for q in questions]
    random.Random(f"easy-vqa turns {seed} {split} {path.stem}").shuffle(turns)
    name = f"easy-vqa-{split}-{path.stem}{'' if language == 'en' else f'-{language}'}"
    if split == "train":  # the official test is asked as it is
        turns = as_typed(turns, f"{seed} {name}")
    return make_record(name, f"images/{split}/{path.name}", turns)


def _by_picture(split: Split, limit: int | None) -> dict[Path, list[Question]]:
    pictures: dict[Path, list[Question]] = {}
    for question in easy_vqa_questions(split):
        pictures.setdefault(question.image_path, []).append(question)
    return dict(list(pictures.items())[:limit])


def _answer_type(answer: str) -> QuestionType:
    if answer in ("yes", "no"):
        return "yes/no"
    return "shape" if answer in SHAPES else "colour"


def _package_data() -> Path:
    # Only the files are wanted: the package's own functions return the same rows without the pictures' order.
    spec = importlib.util.find_spec("easy_vqa")
    if spec is None or spec.origin is None:
        raise UserError("the package easy-vqa is not installed; run: pip install easy-vqa")
    return Path(spec.origin).parent / "data"
