"""Suites about everyday pictures: of a style that was not trained on, and Tux Paint's held-out captions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from llava_tuning.data.everyday.compose import compose
from llava_tuning.data.everyday.conversations import read_rgba
from llava_tuning.data.everyday.limits import declines_photograph
from llava_tuning.data.everyday.names import NOISY, noun
from llava_tuning.data.everyday.questions import DRAWN, Asker, EverydayQuestion
from llava_tuning.data.everyday.table import EverydayPicture
from llava_tuning.data.phrases import Language
from llava_tuning.evaluation.asking import Picture
from llava_tuning.evaluation.demo.suite import Item, Suite, same_answer

STYLE, CAPTIONED = "noto", "tuxpaint"
SIDE = 224  # of the pictures, in pixels
_SAYS_NONE = re.compile(r"\b(no|not|none|nothing)\b|n't|没|不", re.IGNORECASE)
_PRIOR_PICTURES = 2_000


class Everyday:
    """Makes suites out of a table's test split; answers without eyes come from its training split.

    Args:
        folder: of the table.
        table: its pictures.
        seed: chooses grounds, places and questions; the same in both languages.
    """

    def __init__(self, folder: Path, table: Sequence[EverydayPicture], language: Language, seed: int) -> None:
        self.folder = folder
        self.language: Language = language
        self.seed = seed
        self.train = [picture for picture in table if picture.split == "train" and picture.style not in NOISY]
        test = [picture for picture in table if picture.split == "test"]
        random.Random(f"demo {seed}").shuffle(test)
        self.emoji = [p for p in test if p.style == STYLE and noun(p, language)]
        self.captioned = [p for p in test if p.style == CAPTIONED]
        # Popular things are those that many pictures of the whole table show.
        self.asker = Asker([*self.train, *self.emoji], language)
        self.row_asker = Asker(self.emoji, language)

    def names(self, limit: int) -> Suite:
        """What is it? By exact match."""
        items = [self._item(n, p, [p], self.asker.name(p, self._rng(n))) for n, p in self._some(limit)]
        also = {"wrongly declined": lambda item, answer: declines_photograph(answer, self.language)}
        return Suite("names", self.language, items, self._seen_about_one, max_new_tokens=32, also=also)

    def captions(self, limit: int) -> Suite:
        """Held-out captions, of kinds that were not trained on: right where a word of them is said."""
        items = [
            Item(p.file, q.text, q.answer, "held-out caption", self._picture(n, [p]))
            for n, p in enumerate(self.captioned[:limit])
            if (q := Asker([p], "en").name(p, self._rng(n)))
        ]
        also = {"exactly right": same_answer}
        return Suite(
            "Tux Paint", "en", items, self._seen_about_one, _shares_a_word, max_new_tokens=32, also=also
        )

    def facts(self, limit: int) -> Suite:
        """Is it an animal, can you eat it, ..."""
        return self._suite("facts", limit, self.asker.fact)

    def colours(self, limit: int) -> Suite:
        """What colour is it mostly?"""
        return self._suite("main colour", limit, self.asker.colour)

    def existence(self, limit: int) -> Suite:
        """Is there a dog? A third of the questions for each way to draw what is absent; half of them yes."""
        items: list[Item] = []
        each = max(1, limit // (2 * len(DRAWN)))
        for drawn in DRAWN:
            asked = 0
            for number, picture in self._some(len(self.emoji)):
                rng = self._rng(number, drawn)
                for q in self.asker.existence([picture], rng, drawn) if asked < each else ():
                    items.append(self._item(number, picture, [picture], q, drawn))
                    asked += q.absent is not None
        random.Random(f"existence {self.seed}").shuffle(items)
        return Suite("existence", self.language, items, self._seen_existence, max_new_tokens=16)

    def absent_things(self, limit: int) -> Suite:
        """What colour is the dog? Half of the time there is none, and the answer must say so."""
        items: list[Item] = []
        for number, picture in self._some(len(self.emoji)):
            rng = self._rng(number, "absent")
            absent = self.asker.absent_thing([picture], rng)
            there = self.asker.colour_of(picture, rng)
            if absent and there and len(items) + 2 <= max(2, limit):
                items.append(self._item(number, picture, [picture], absent[0], "absent"))
                items.append(self._item(number, picture, [picture], there[0], "there"))
        return Suite(
            "absent things", self.language, items, self._seen_about_one, _absent_or_right, max_new_tokens=40
        )

    def rows(self, limit: int) -> Suite:
        """Two to four things side by side: which is where, how many, in which order."""
        items: list[Item] = []
        wanted = ("place", "order", "count")
        for number in range(max(1, limit // len(wanted))):
            rng = self._rng(number, "row")
            row = self.row_asker.row(rng)
            if len(row) == 1:
                break
            asked = {q.skill: q for q in self.row_asker.about_row(row, rng)}
            picture = self._picture(number, row)
            for skill in wanted:
                q = asked[skill]
                items.append(Item(f"row {number} {skill}", q.text, q.answer, skill, picture))
        return Suite("side by side", self.language, items, self._seen_about_rows, max_new_tokens=32)

    def _suite(
        self,
        name: str,
        limit: int,
        make: Callable[[EverydayPicture, random.Random], list[EverydayQuestion]],
    ) -> Suite:
        items: list[Item] = []
        for number, picture in self._some(len(self.emoji)):
            if len(items) < limit:
                for q in make(picture, self._rng(number, name)):
                    items.append(self._item(number, picture, [picture], q))
        return Suite(name, self.language, items, self._seen_about_one, max_new_tokens=16)

    def _some(self, limit: int) -> list[tuple[int, EverydayPicture]]:
        return list(enumerate(self.emoji[:limit]))

    def _rng(self, number: int, purpose: str = "") -> random.Random:
        return random.Random(f"demo {self.seed} {number} {purpose}")

    def _item(
        self,
        number: int,
        picture: EverydayPicture,
        row: Sequence[EverydayPicture],
        question: EverydayQuestion,
        kind: str | None = None,
    ) -> Item:
        name = f"{picture.file} {kind or question.skill} {'absent' if question.absent else ''}".strip()
        return Item(name, question.text, question.answer, kind or question.skill, self._picture(number, row))

    def _picture(self, number: int, row: Sequence[EverydayPicture]) -> Picture:
        key = f"{self.seed} {number} {' '.join(picture.file for picture in row)}"
        return Picture(key, partial(self._compose, key, row))

    def _compose(self, key: str, row: Sequence[EverydayPicture]) -> Image.Image:
        return compose([read_rgba(self.folder, p) for p in row], random.Random(key), SIDE)

    def _seen_about_one(self) -> Iterator[tuple[str, str, str]]:
        asker, rng = Asker(self.train, self.language), random.Random("prior")
        for picture in rng.sample(self.train, min(_PRIOR_PICTURES, len(self.train))):
            for q in asker.about_one(picture, rng):
                kind = "absent" if q.skill == "absent thing" else q.skill
                yield kind, q.text, "no" if kind == "absent" else q.answer

    def _seen_existence(self) -> Iterator[tuple[str, str, str]]:
        for kind, text, answer in self._seen_about_one():
            if kind == "existence":
                for drawn in DRAWN:
                    yield drawn, text, answer

    def _seen_about_rows(self) -> Iterator[tuple[str, str, str]]:
        asker, rng = Asker(self.train, self.language), random.Random("prior")
        for _ in range(_PRIOR_PICTURES if asker.known else 0):
            for q in asker.about_row(asker.row(rng), rng):
                yield q.skill, q.text, q.answer


def _absent_or_right(item: Item, answer: str) -> bool:
    return bool(_SAYS_NONE.search(answer)) if item.kind == "absent" else same_answer(item, answer)


def _shares_a_word(item: Item, answer: str) -> bool:
    words = (set(re.findall(r"[a-z]{3,}", text.lower())) for text in (item.right, answer))
    return bool(set.intersection(*words))
