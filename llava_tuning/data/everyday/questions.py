"""Questions about everyday pictures whose answers follow from the table, in English and Chinese.

Yes and no are balanced, for each wording too: what is absent is asked about as often as what is there, and a
name comes up as often where it is absent as where it is present.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from llava_tuning.data.everyday.facts import Facts
from llava_tuning.data.everyday.names import (
    COLOURS_ZH,
    FREELY_NAMED,
    NOISY,
    is_plural,
    may_be_mistaken,
    noun,
    with_its_article,
)
from llava_tuning.data.everyday.table import EverydayPicture
from llava_tuning.data.everyday.wordings import (
    ANSWERS,
    CAPTIONS,
    COLOUR_CAPTIONS,
    QUESTIONS,
    ROW_CAPTIONS,
)
from llava_tuning.data.phrases import Language, join_list

Drawn = Literal["random", "popular", "adversarial"]
DRAWN: tuple[Drawn, ...] = get_args(Drawn)
_TRIES = 200
_PLURAL_VERBS = (("is there", "are there"), ("is the", "are the"), ("does the", "do the"))
_SAME_KIND = 0.4  # share of the things side by side that are drawn from one kind, so that it can be counted
# Share of conversations that begin with "what is it?"; the others end with it: it answers what comes after.
_NAMED_FIRST = 0.2
# How often the colour of what is there is asked, where it has one, rather than something about what is
# absent; and how often that where it has none. In the words that both share, both come about equally often.
_COLOUR_OF = 0.4
_ABSENT_BY_ITSELF = 0.5


@dataclass(frozen=True)
class EverydayQuestion:
    """A question about a picture, and its exact answer.

    `absent` says how the thing that is asked about, and absent, was drawn (Li et al. 2023, POPE): any thing,
    a thing in proportion to how many pictures show it, or a thing of the same subgroup.
    """

    text: str
    answer: str
    skill: str
    absent: Drawn | None = None


class Asker:
    """Asks about pictures; absent things are drawn from `known` pictures of the same kind.

    Args:
        known: what may be asked about, one row a picture, so that a name of many pictures is popular.
    """

    def __init__(self, known: Sequence[EverydayPicture], language: Language) -> None:
        self.language: Language = language
        self.known = [p for p in known if p.style not in FREELY_NAMED and noun(p, language)]
        self._facts = Facts([p for p in known if p.style not in NOISY and noun(p, language)])
        self._row_kinds = Facts(self.known)
        self._by_subgroup: dict[str, list[EverydayPicture]] = defaultdict(list)
        for picture in self.known:
            self._by_subgroup[picture.subgroup].append(picture)
        self._distinct = list({picture.name: picture for picture in self.known}.values())

    def about_one(self, picture: EverydayPicture, rng: random.Random) -> list[EverydayQuestion]:
        """One question of each skill that applies to a picture, in a random order; none where it has no name
        in this language."""
        if noun(picture, self.language) is None:
            return []
        found = [*self.fact(picture, rng), *self.colour(picture, rng)]
        if picture.style not in FREELY_NAMED:
            found += [*self._until_there([picture], rng), *self._colour_of_a_thing([picture], rng)]
        found = _shuffled(found, rng)
        found.insert(0 if rng.random() < _NAMED_FIRST else len(found), self.name(picture, rng))
        return found

    def about_row(self, row: Sequence[EverydayPicture], rng: random.Random) -> list[EverydayQuestion]:
        """Questions about two to four pictures side by side that cannot be mistaken for one another."""
        words = ANSWERS[self.language]
        names = [noun(picture, self.language) or "" for picture in row]
        found = [EverydayQuestion(self._ask("count", rng), str(len(row)), "count")]
        if counted := self._facts.count(row, rng):
            plural = (counted[0].plural or ("", ""))[self.language == "zh"]
            text = self._ask("count kind", rng, kind=plural)
            found.append(EverydayQuestion(text, str(counted[1]), "count"))
        sides = {0: "left", len(row) - 1: "right"} | ({1: "middle"} if len(row) == 3 else {})
        number, side = rng.choice(list(sides.items()))
        found.append(EverydayQuestion(self._ask(side, rng), names[number], "place"))
        number, side = rng.choice(list(sides.items()))
        found.append(EverydayQuestion(self._ask("place", rng, noun=names[number]), words[side], "place"))
        first, second = rng.sample(range(len(row)), 2)
        right = rng.random() < 0.5
        text = self._worded(QUESTIONS[self.language]["order"][right], noun=names[first], other=names[second])
        found.append(EverydayQuestion(text, words["yes" if (first > second) == right else "no"], "order"))
        found += [*self._until_there(row, rng), *self._colour_of_a_thing(row, rng)]
        return _shuffled(found, rng)

    def row(self, rng: random.Random) -> list[EverydayPicture]:
        """Two to four pictures to put side by side; fewer where a table has not as many different things."""
        row: list[EverydayPicture] = []
        count = rng.randint(2, 4)
        same = self._row_kinds.some_kind(rng) or self.known
        for _ in range(_TRIES):
            if len(row) == count:
                break
            picture = rng.choice(same if rng.random() < _SAME_KIND else self.known)
            if not any(may_be_mistaken(picture, other) for other in row):
                row.append(picture)
        return row

    def name(self, picture: EverydayPicture, rng: random.Random) -> EverydayQuestion:
        """What is it?"""
        return EverydayQuestion(self._ask("name", rng), noun(picture, self.language) or "", "name")

    def fact(self, picture: EverydayPicture, rng: random.Random) -> list[EverydayQuestion]:
        """Is it an animal? At most one question; over all pictures, yes and no are equally frequent."""
        if (fact := self._facts.of_one(picture, rng)) is None:
            return []
        concept, holds = fact
        text = rng.choice(concept.questions[self.language])
        answer = concept.chinese[not holds] if self.language == "zh" else ("yes" if holds else "no")
        return [EverydayQuestion(text, answer, "fact")]

    def colour(self, picture: EverydayPicture, rng: random.Random) -> list[EverydayQuestion]:
        """What colour is it mostly? Nothing where none clearly prevails."""
        if not picture.colour:
            return []
        return [EverydayQuestion(self._ask("colour", rng), self._colour(picture.colour), "colour")]

    def colour_of(self, picture: EverydayPicture, rng: random.Random) -> list[EverydayQuestion]:
        """What colour is the dog? In the same words as where no dog is."""
        name = noun(picture, self.language)
        if not picture.colour or name is None:
            return []
        text = self._ask("colour of", rng, noun=name)
        return [EverydayQuestion(text, self._colour(picture.colour), "colour")]

    def existence(
        self, shown: Sequence[EverydayPicture], rng: random.Random, drawn: Drawn | None = None
    ) -> list[EverydayQuestion]:
        """Is there a dog? One thing that is there and one that is not; none where nothing can be absent."""
        way = drawn if drawn else rng.choice(DRAWN)
        words, there = ANSWERS[self.language], rng.choice(shown)
        found = []
        if (absent := self.absent(shown, way, rng)) is not None:
            found.append(self._is_there(absent, words["not there"], rng, way))
            found.append(self._is_there(there, words["there"], rng))
        return found

    def absent_thing(
        self, shown: Sequence[EverydayPicture], rng: random.Random, drawn: Drawn | None = None
    ) -> list[EverydayQuestion]:
        """What colour is the dog? where no dog is."""
        way = drawn if drawn else rng.choice(DRAWN)
        if (absent := self.absent(shown, way, rng)) is None:
            return []
        name = noun(absent, self.language) or ""
        answer = ANSWERS[self.language]["absent thing"].format(noun=name)
        return [EverydayQuestion(self._ask("absent thing", rng, noun=name), answer, "absent thing", way)]

    def absent(
        self, shown: Sequence[EverydayPicture], drawn: Drawn, rng: random.Random
    ) -> EverydayPicture | None:
        """Something that none of the pictures shows; None where the subgroup has nothing else."""
        pool = {
            "random": self._distinct,
            "popular": self.known,
            "adversarial": self._by_subgroup[rng.choice(shown).subgroup],
        }[drawn]
        for _ in range(_TRIES if pool else 0):
            picture = rng.choice(pool)
            if not any(may_be_mistaken(picture, other) for other in shown):
                return picture
        return None

    def captions(self, row: Sequence[EverydayPicture]) -> list[str]:
        """Descriptions of one picture, or of several from left to right; none where a name is missing."""
        names = [noun(picture, self.language) for picture in row]
        if None in names:
            return []
        given = [name for name in names if name]
        if self.language == "en":
            listing = join_list([with_its_article(name) for name in given])
        else:
            listing = "、".join(given)
        fields = {"list": listing, "colour": self._colour(row[0].colour or "")}
        templates = CAPTIONS if len(row) == 1 else ROW_CAPTIONS
        found = [caption.format(**fields) for caption in templates[self.language]]
        if len(row) == 1 and row[0].colour:
            found += [caption.format(**fields) for caption in COLOUR_CAPTIONS[self.language]]
        return found

    def _colour_of_a_thing(
        self, shown: Sequence[EverydayPicture], rng: random.Random
    ) -> list[EverydayQuestion]:
        """What colour is the dog? Of one that is there, or of none that is."""
        there = self.colour_of(rng.choice(shown), rng)
        if there and rng.random() < _COLOUR_OF:
            return there
        return self.absent_thing(shown, rng) if there or rng.random() < _ABSENT_BY_ITSELF else []

    def _until_there(self, shown: Sequence[EverydayPicture], rng: random.Random) -> list[EverydayQuestion]:
        """Up to two, each by chance about what is there or what is not, and none after a yes.

        So a yes is as likely as a no whatever was said before, and they are equally frequent.
        """
        found: list[EverydayQuestion] = []
        for _ in range(2):
            pair = self.existence(shown, rng)
            if pair and all(question.absent for question in found):
                found.append(rng.choice(pair))
        return found

    def _is_there(
        self, picture: EverydayPicture, answer: str, rng: random.Random, drawn: Drawn | None = None
    ) -> EverydayQuestion:
        name = noun(picture, self.language) or ""
        text = self._ask("existence", rng, noun=name, a=with_its_article(name))
        return EverydayQuestion(text, answer, "existence", drawn)

    def _colour(self, colour: str) -> str:
        return COLOURS_ZH.get(colour, "") if self.language == "zh" else colour

    def _ask(self, about: str, rng: random.Random, **fields: str) -> str:
        return self._worded(rng.choice(QUESTIONS[self.language][about]), **fields)

    def _worded(self, wording: str, **fields: str) -> str:
        if self.language == "en" and is_plural(fields.get("noun", "")):
            for one, several in _PLURAL_VERBS:
                wording = wording.replace(one, several)
        return wording.format(**fields)


def _shuffled(found: list[EverydayQuestion], rng: random.Random) -> list[EverydayQuestion]:
    """In a random order, but those of existence as they were: none comes after a yes."""
    existence = iter([question for question in found if question.skill == "existence"])
    rng.shuffle(found)
    return [next(existence) if question.skill == "existence" else question for question in found]
