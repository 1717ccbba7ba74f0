"""Captions, questions and exact answers for a drawn scene, in English or Chinese."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from llava_tuning.data.phrases import Language
from llava_tuning.data.scene_words import ENGLISH, WORDS
from llava_tuning.data.scenes import COLOURS, RADII, SHAPES, Scene, SceneObject, Subject

MAX_QUESTIONS = 8
# Two objects are left of or above one another only if their centres are this far apart (in sides).
CLEAR_DISTANCE = 0.12

_SIZES = tuple(RADII)
# relation → whether the first object stands so to the second
_RELATIONS: dict[str, Callable[[SceneObject, SceneObject], bool]] = {
    "to the left of": lambda a, b: b.x - a.x >= CLEAR_DISTANCE,
    "to the right of": lambda a, b: a.x - b.x >= CLEAR_DISTANCE,
    "above": lambda a, b: b.y - a.y >= CLEAR_DISTANCE,
    "below": lambda a, b: a.y - b.y >= CLEAR_DISTANCE,
}
_OPPOSITE = {"to the left of": "to the right of", "above": "below"}
_OPPOSITE |= {second: first for first, second in _OPPOSITE.items()}


@dataclass(frozen=True)
class SceneQuestion:
    """A question about one scene, its exact answer, and the skill that it asks for."""

    text: str
    answer: str
    skill: str


@dataclass(frozen=True)
class _Asked:
    """A question before it is worded: its kind, which wording of that kind, and what it is about.

    Things, relations and the answer are English words, which stand for themselves in every language.
    """

    skill: str
    kind: str
    wording: int
    answer: str
    noun: str = ""
    other: str = ""
    relation: str = ""

    def worded(self, language: Language) -> SceneQuestion:
        words = WORDS[language]
        text = words.questions[self.kind][self.wording]
        text = text.format(**words.fields(self.noun, self.other, self.relation))
        return SceneQuestion(text, words.answer(self.kind, self.answer), self.skill)


_Skill = Callable[[Scene, random.Random], list[_Asked]]


def captions(scene: Scene, language: Language = "en") -> list[str]:
    """True descriptions of the whole scene in several wordings; things are named from left to right.

    A model can learn an order that the picture shows; from another it only learns to lose track.
    """
    words = WORDS[language]
    rng = scene.rng("captions")
    objects = sorted(scene.objects, key=lambda o: o.x)
    plain = words.listing(_grouped(objects, sizes=False))
    sized = words.listing(_grouped(objects, sizes=True))
    number = len(scene.objects)
    facts = {
        "plain": plain,
        "sized": sized,
        "Plain": f"{plain[0].upper()}{plain[1:]}",
        "is_are": "is" if number == 1 or _grouped(objects, sizes=False)[0][1] == 1 else "are",
        "objects": words.objects(number),
    }
    found = [wording.format(**facts) for wording in words.captions]
    pairs = list(_clear_pairs(scene))
    if number == 2 and pairs:
        first, relation, second = rng.choice(pairs)
        fields = words.fields(first.name, second.name, relation)
        found += [wording.format(**fields) for wording in words.pair_captions]
    if number == 1 and (where := _quarter(scene.objects[0])):
        fields = words.fields(scene.objects[0].name)
        found += [wording.format(where=words.noun(where), **fields) for wording in words.corner_captions]
    return found


def questions(scene: Scene, language: Language = "en") -> list[SceneQuestion]:
    """Up to MAX_QUESTIONS questions of different skills, in a random order; the same in every language.

    Where a skill allows several answers, the answer is drawn first and the question after it, so that neither
    "yes" nor any one number can be guessed. At least one question always applies (existence).
    """
    rng = scene.rng("questions")
    found: list[_Asked] = []
    makers: tuple[_Skill, ...] = (*_SKILLS, _existence, _existence)
    for make in makers:
        if candidates := make(scene, rng):
            answer = rng.choice(sorted({c.answer for c in candidates}))
            chosen = rng.choice([c for c in candidates if c.answer == answer])
            if chosen not in found:
                found.append(chosen)
    rng.shuffle(found)
    return [asked.worded(language) for asked in found[:MAX_QUESTIONS]]


def _existence(scene: Scene, rng: random.Random) -> list[_Asked]:
    """ "is there a red circle?"; wrong names share a colour or a shape with something that is there."""
    subject = rng.choice(("shape", "colour", "both"))
    if subject == "shape":
        here, nouns = {o.shape for o in scene.objects}, list(SHAPES)
    elif subject == "colour":
        here = {f"{o.colour} {_thing(scene)}" for o in scene.objects}
        nouns = [f"{colour} {_thing(scene)}" for colour in COLOURS]
    else:
        here = {o.name for o in scene.objects}
        near = {f"{o.colour} {shape}" for o in scene.objects for shape in SHAPES}
        near |= {f"{colour} {o.shape}" for o in scene.objects for colour in COLOURS}
        nouns = sorted(here | near)
    negated = rng.random() < 0.35
    kind = "absent" if negated else "present"
    wording = _wording(kind, rng)
    return [_Asked("existence", kind, wording, _yes((noun in here) != negated), noun) for noun in nouns]


def _count(scene: Scene, rng: random.Random) -> list[_Asked]:
    subject = scene.counted
    answer = str(sum(subject.matches(o) for o in scene.objects))
    if subject == Subject():
        return [_Asked("count", "count all", _wording("count all", rng), answer)]
    noun = subject.shape or f"{subject.colour} {_thing(scene)}"
    return [_Asked("count", "count", _wording("count", rng), answer, noun)]


def _colour(scene: Scene, rng: random.Random) -> list[_Asked]:
    if len(scene.objects) == 1:
        nouns = {scene.objects[0].colour: ["shape", scene.objects[0].shape]}
    else:
        nouns = {o.colour: [o.shape] for o in _unique(scene, lambda o: o.shape)}
    return [
        _Asked("colour", "colour", wording, colour, noun)
        for colour, names in nouns.items()
        for noun in names
        for wording in range(len(ENGLISH.questions["colour"]))
    ]


def _shape(scene: Scene, rng: random.Random) -> list[_Asked]:
    if len(scene.objects) == 1:
        only = scene.objects[0]
        wordings = range(len(ENGLISH.questions["only shape"]))
        found = [_Asked("shape", "only shape", wording, only.shape) for wording in wordings]
        return [*found, _Asked("shape", "shape", 0, only.shape, only.colour)]
    return [
        _Asked("shape", "shape", wording, o.shape, o.colour)
        for o in _unique(scene, lambda o: o.colour)
        for wording in range(len(ENGLISH.questions["shape"]))
    ]


def _size(scene: Scene, rng: random.Random) -> list[_Asked]:
    wording = _wording("size", rng)
    return [_Asked("size", "size", wording, o.size, name) for name, o in _named(scene)]


def _position(scene: Scene, rng: random.Random) -> list[_Asked]:
    wording = _wording("position", rng)
    return [
        _Asked("position", "position", wording, where, name)
        for name, o in _named(scene)
        if (where := _quarter(o))
    ]


def _relation(scene: Scene, rng: random.Random) -> list[_Asked]:
    found = []
    for first, relation, second in _clear_pairs(scene):
        for answer, word in (("yes", relation), ("no", _OPPOSITE[relation])):
            found.append(_Asked("relation", "relation", 0, answer, first.name, second.name, word))
    return found


def _neighbour(scene: Scene, rng: random.Random) -> list[_Asked]:
    """ "what is above the red circle?" where exactly one object is, and no other nearly is."""
    found = []
    for name, anchor in _named(scene):
        others = [o for o in scene.objects if o is not anchor]
        for relation, holds in _RELATIONS.items():
            there = [o for o in others if holds(o, anchor)]
            if len(there) == 1 and all(o is there[0] or holds(anchor, o) for o in others):
                found.append(_Asked("neighbour", "neighbour", 0, there[0].name, name, "", relation))
    return found


def _more(scene: Scene, rng: random.Random) -> list[_Asked]:
    """ "are there more circles than stars?", at least one of the two being there."""
    values: tuple[str, ...]
    if rng.random() < 0.5:
        counts, values = Counter(o.shape for o in scene.objects), SHAPES
        nouns = {value: value for value in values}
    else:
        counts, values = Counter(o.colour for o in scene.objects), COLOURS
        nouns = {value: f"{value} {_thing(scene)}" for value in values}
    pairs = [(a, b) for a in values for b in values if a != b and counts[a] + counts[b]]
    # Where one is absent the answer is easy; such pairs are needed only if all that is there ties.
    if len({counts[value] for value in values if counts[value]}) > 1:
        pairs = [(a, b) for a, b in pairs if counts[a] and counts[b]]
    return [_Asked("more", "more", 0, _yes(counts[a] > counts[b]), nouns[a], nouns[b]) for a, b in pairs]


def _larger(scene: Scene, rng: random.Random) -> list[_Asked]:
    wording = _wording("larger", rng)
    sign = (1, -1)[wording]  # larger, smaller
    named = list(_named(scene))
    return [
        _Asked("larger", "larger", wording, _yes(difference > 0), a, b)
        for a, first in named
        for b, second in named
        if (difference := sign * (_SIZES.index(first.size) - _SIZES.index(second.size)))
    ]


_SKILLS: tuple[_Skill, ...] = (
    _count,
    _colour,
    _shape,
    _size,
    _position,
    _relation,
    _neighbour,
    _more,
    _larger,
)


def _wording(kind: str, rng: random.Random) -> int:
    return rng.randrange(len(ENGLISH.questions[kind]))


def _clear_pairs(scene: Scene) -> Iterator[tuple[SceneObject, str, SceneObject]]:
    """(first, relation, second) for objects that can be named and clearly stand so."""
    named = [o for _, o in _named(scene)]
    for first in named:
        for second in named:
            for relation, holds in _RELATIONS.items():
                if first is not second and holds(first, second):
                    yield first, relation, second


def _named(scene: Scene) -> Iterator[tuple[str, SceneObject]]:
    """Objects that colour and shape single out, each with that name."""
    for o in _unique(scene, lambda o: o.name):
        yield o.name, o


def _unique(scene: Scene, key: Callable[[SceneObject], str]) -> list[SceneObject]:
    counts = Counter(key(o) for o in scene.objects)
    return [o for o in scene.objects if counts[key(o)] == 1]


def _quarter(item: SceneObject) -> str | None:
    """`top left` and so on; None near a middle line, where people would disagree."""
    if min(abs(item.x - 0.5), abs(item.y - 0.5)) < CLEAR_DISTANCE / 2:
        return None
    return f"{'top' if item.y < 0.5 else 'bottom'} {'left' if item.x < 0.5 else 'right'}"


def _grouped(objects: Sequence[SceneObject], sizes: bool) -> list[tuple[str, int]]:
    """(name, how many) of the same things next to one another: who names them need not count ahead."""
    names = [f"{o.size} {o.name}" if sizes else o.name for o in objects]
    return [(name, len(list(run))) for name, run in groupby(names)]


def _thing(scene: Scene) -> str:
    # easy-VQA says "a red shape"; scenes of several objects say so in half of the cases.
    return "shape" if len(scene.objects) == 1 or scene.index % 2 else "object"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
