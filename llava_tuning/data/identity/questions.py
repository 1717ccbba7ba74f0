"""The questions of a language, filled in and split into training and held-out ones.

Templates are split before anything is filled in, so the wording of a held-out question is never trained on.
The other assistants, and the facts that contrast questions ask for, are split as well.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from llava_tuning.data.identity.phrasebook import Kind, Phrasebook, fill, mentions, plain_wording
from llava_tuning.data.identity.who import Identity
from llava_tuning.errors import UserError

CONTRAST = "contrast"

_HELD_OUT = 0.2  # share of each list that is held out, rounded up
_FILLS = 4  # questions made of one template, or about one thing
_T = TypeVar("_T")


@dataclass(frozen=True)
class Question:
    """One question, all answers that suit it, and what an answer must and must not mention."""

    kind: str
    text: str
    answers: tuple[str, ...]
    must: tuple[str, ...]
    must_not: tuple[str, ...]
    foreign: bool = False

    @property
    def part(self) -> str:
        """`identity` or `contrast`."""
        return CONTRAST if self.kind == CONTRAST else "identity"


class Questions(NamedTuple):
    """The questions to train on, and those held out."""

    train: list[Question]
    held_out: list[Question]


def split_questions(books: Sequence[Phrasebook], identity: Identity, seed: int) -> dict[str, Questions]:
    """Language → its questions, each wording once; no training question holds a held-out one.

    Raises:
        UserError: the name or owner is so common a word that hardly any contrast is left.
    """
    split = {book.language: _split_book(book, identity, seed) for book in books}
    held = {plain_wording(question.text) for both in split.values() for question in both.held_out}
    return {
        language: Questions([q for q in both.train if not _wordings(q.text) & held], both.held_out)
        for language, both in split.items()
    }


def _split_book(book: Phrasebook, identity: Identity, seed: int) -> Questions:
    rng = random.Random(f"identity questions {seed} {book.language}")
    others = [pair for pair in book.others.items() if not any(map(identity.overlaps, pair))]
    other_parts = _split(others, rng)
    found: Questions = Questions([], [])
    for kind in book.kinds:
        parts = zip(found, _split(kind.questions, rng), other_parts, strict=True)
        if kind.name == "taken for the maker" and identity.is_named_after_owner:
            continue  # "No, I'm not Momo Labs, I'm Momo" would confuse more than teach
        for questions, templates, pairs in parts:
            questions += _identity_questions(kind, templates, pairs, identity)
    contrast = _split_contrast(book, rng)
    for questions, pairs in zip(found, contrast, strict=True):
        clean = [pair for pair in pairs if not identity.in_text(*pair)]
        own = (identity.name, identity.owner)
        if len(clean) < len(pairs) / 2:
            common = max(own, key=lambda word: sum(mentions(" ".join(pair), word) for pair in pairs))
            raise UserError(
                f"{common!r} is a word of so many sentences that no answer could show whether it is said "
                "out of place; give a rarer --name or --owner"
            )
        questions += [Question(CONTRAST, text, (answer,), (), own) for text, answer in clean]
    return Questions(*map(_distinct, found))


def _identity_questions(
    kind: Kind, templates: Sequence[str], others: Sequence[tuple[str, str]], identity: Identity
) -> Iterator[Question]:
    for number, template in enumerate(templates):
        about_others = "{other}" in template or "{maker}" in template
        for other, maker in _some(others, number) if about_others else [("", "")]:
            values = {**identity.values, "other": other, "maker": maker}
            answers, must, must_not = (
                tuple(fill(text, values) for text in texts)
                for texts in (kind.answers, kind.must, kind.must_not)
            )
            yield Question(kind.name, fill(template, values), answers, must, must_not, kind.foreign)


def _split_contrast(
    book: Phrasebook, rng: random.Random
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    found = _split(book.contrast, rng)
    for facts in book.facts:
        parts = zip(
            found, _split(facts.questions, rng), _split(list(facts.answers.items()), rng), strict=True
        )
        for pairs, templates, things in parts:
            for number, (thing, answer) in enumerate(things):
                pairs += [(fill(text, {"thing": thing}), answer) for text in _some(templates, number)]
    return found


def _split(items: Sequence[_T], rng: random.Random) -> tuple[list[_T], list[_T]]:
    """(kept, held out), both in their order. The first is kept: it is what everybody asks."""
    held = set(rng.sample(range(1, len(items)), math.ceil((len(items) - 1) * _HELD_OUT)))
    kept = [item for number, item in enumerate(items) if number not in held]
    return kept, [items[number] for number in sorted(held)]


def _some(items: Sequence[_T], number: int) -> list[_T]:
    """`_FILLS` of the items; the next number takes the next ones, so that all come equally often."""
    start = number * _FILLS
    return [items[(start + i) % len(items)] for i in range(min(_FILLS, len(items)))]


def _distinct(questions: Iterable[Question]) -> list[Question]:
    return list({plain_wording(question.text): question for question in questions}.values())


def _wordings(text: str) -> set[str]:
    """The wording of a text and of each of its sentences."""
    return {plain_wording(part) for part in (text, *re.split(r"[.?!。？！]", text))} - {""}
