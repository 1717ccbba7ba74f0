"""Which suites are asked, and how many questions of each."""

from __future__ import annotations

from pathlib import Path

from llava_tuning.data.everyday.table import TABLE, read_table
from llava_tuning.data.phrases import Language
from llava_tuning.evaluation.demo.drawn import easy_vqa_suite, scene_caption_suite, scene_suite
from llava_tuning.evaluation.demo.everyday import Everyday
from llava_tuning.evaluation.demo.limits import open_chinese_suite, photograph_suite
from llava_tuning.evaluation.demo.suite import LeftOut, Suite, asked_as_typed
from llava_tuning.evaluation.demo.text import talk_suite

# Questions of each suite in English and Chinese; with controls, what two cores answer in some minutes.
QUESTIONS = {
    "easy-VQA": (500, 200),
    "scenes": (500, 250),
    "scene captions": (100, 60),
    "names": (1000, 300),
    "Tux Paint": (120, 0),
    "facts": (150, 80),
    "main colour": (150, 80),
    "existence": (300, 150),
    "absent things": (120, 60),
    "side by side": (150, 90),
    "photographs": (40, 40),
    "open Chinese": (0, 40),
    "no picture talk": (60, 0),
    "text retention": (100, 0),
}
_LANGUAGES: tuple[Language, Language] = ("en", "zh")
_BUILD = "build the pictures by `llava-tuning data everyday` and name their folder with --everyday"
_NOT_THERE = "the folder has no such pictures; build it again with all packages"


def plan(
    everyday: Path | None, photographs: Path | None, limit: int | None, seed: int
) -> tuple[list[Suite], list[LeftOut]]:
    """The suites that can be asked, and those that cannot.

    Args:
        everyday: folder of the table of everyday pictures.
        photographs: folder of photographs, none of which was trained on.
        limit: at most so many questions of each suite.
        seed: chooses samples, grounds and places.

    Raises:
        UserError: a folder is named that holds no table, or no photographs.
    """
    suites: list[Suite] = []
    left_out: list[LeftOut] = []

    def number(name: str, language: Language) -> int:
        given = QUESTIONS[name][language == "zh"]
        return given if limit is None else min(limit, given)

    table = read_table(everyday) if everyday else []
    for code in _LANGUAGES:
        suites += [
            easy_vqa_suite(code, number("easy-VQA", code), seed),
            scene_suite(code, number("scenes", code)),
            scene_caption_suite(code, number("scene captions", code)),
        ]
        if everyday is not None:
            made = Everyday(everyday, table, code, seed)
            makers = {
                "names": made.names,
                "facts": made.facts,
                "main colour": made.colours,
                "existence": made.existence,
                "absent things": made.absent_things,
                "side by side": made.rows,
            }
            if code == "en":
                makers["Tux Paint"] = made.captions
            suites += [make(number(name, code)) for name, make in makers.items()] if made.emoji else []
        if photographs is not None:
            suites.append(photograph_suite(photographs, code, number("photographs", code), seed))
    suites += [open_chinese_suite(number("open Chinese", "zh"), seed)]
    suites += [talk_suite(number("no picture talk", "en"), seed)]
    asked = [
        suite if suite.name == "easy-VQA" else asked_as_typed(suite, seed)  # that one's test is official
        for suite in suites
        if suite.items
    ]
    for name in ("names", "facts", "main colour", "existence", "absent things", "side by side", "Tux Paint"):
        if not any(suite.name == name for suite in asked):
            left_out.append(
                LeftOut(name, _BUILD if everyday is None else f"{everyday / TABLE}: {_NOT_THERE}")
            )
    if photographs is None:
        left_out.append(LeftOut("photographs", "name a folder of photographs with --photographs"))
    return asked, left_out


def retention_conversations(limit: int | None) -> int:
    """General conversations whose likelihood is measured."""
    given = QUESTIONS["text retention"][0]
    return given if limit is None else min(limit, given)
