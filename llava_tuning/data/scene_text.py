"""Captions, questions and exact answers for a drawn scene."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llava_tuning.data.phrases import join_list, with_article
from llava_tuning.data.scenes import COLOURS, RADII, SHAPES, Scene, SceneObject, Subject

MAX_QUESTIONS = 8
# Two objects are left of or above one another only if their centres are this far apart (in sides).
CLEAR_DISTANCE = 0.12

_SIZES = tuple(RADII)
_NUMBERS = ("no", "one", "two", "three", "four", "five")
_PRESENT = (
    "is there {a}?",
    "is there {a} in the image?",
    "is {a} present?",
    "does the image contain {a}?",
    "do you see {a}?",
)
_ABSENT = (
    "is there not {a}?",
    "is there not {a} in the image?",
    "is no {noun} present?",
    "does the image not contain {a}?",
)
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


_Skill = Callable[[Scene, random.Random], list[SceneQuestion]]


def captions(scene: Scene) -> list[str]:
    """True descriptions of the whole scene in several phrasings."""
    rng = scene.rng("captions")
    plain = _listing(scene.objects, sizes=False)
    sized = _listing(scene.objects, sizes=True)
    number = len(scene.objects)
    verb = "is" if number == 1 or _grouped(scene.objects, sizes=False)[0][1] == 1 else "are"
    found = [
        plain,
        sized,
        f"{plain[0].upper()}{plain[1:]}.",
        f"The image shows {sized}.",
        f"The picture contains {plain}.",
        f"There {verb} {plain} in the image.",
        f"I see {sized}.",
        f"{_objects(number).capitalize()}: {plain}.",
        f"This is a picture of {plain}.",
    ]
    pairs = list(_clear_pairs(scene))
    if number == 2 and pairs:
        first, relation, second = rng.choice(pairs)
        found.append(f"{_a(first)} {relation} {_a(second)}")
        found.append(f"The {first.name} is {relation} the {second.name}.")
    if number == 1 and (where := _quarter(scene.objects[0])):
        found.append(f"{_a(scene.objects[0])} at the {where}")
    return found


def questions(scene: Scene) -> list[SceneQuestion]:
    """Up to MAX_QUESTIONS questions of different skills, in a random order.

    Where a skill allows several answers, the answer is drawn first and the question after it, so that neither
    "yes" nor any one number can be guessed. At least one question always applies (existence).
    """
    rng = scene.rng("questions")
    found: list[SceneQuestion] = []
    makers: tuple[_Skill, ...] = (*_SKILLS, _existence, _existence)
    for make in makers:
        if candidates := make(scene, rng):
            answer = rng.choice(sorted({c.answer for c in candidates}))
            chosen = rng.choice([c for c in candidates if c.answer == answer])
            if all(chosen.text != other.text for other in found):
                found.append(chosen)
    rng.shuffle(found)
    return found[:MAX_QUESTIONS]


def _existence(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    """ "is there a red circle?"; wrong names share a colour or a shape with something that is there."""
    kind = rng.choice(("shape", "colour", "both"))
    if kind == "shape":
        here, nouns = {o.shape for o in scene.objects}, list(SHAPES)
    elif kind == "colour":
        here = {f"{o.colour} {_thing(scene)}" for o in scene.objects}
        nouns = [f"{colour} {_thing(scene)}" for colour in COLOURS]
    else:
        here = {o.name for o in scene.objects}
        near = {f"{o.colour} {shape}" for o in scene.objects for shape in SHAPES}
        near |= {f"{colour} {o.shape}" for o in scene.objects for colour in COLOURS}
        nouns = sorted(here | near)
    negated = rng.random() < 0.35
    template = rng.choice(_ABSENT if negated else _PRESENT)
    return [
        SceneQuestion(
            template.format(a=with_article(noun), noun=noun), _yes((noun in here) != negated), "existence"
        )
        for noun in nouns
    ]


def _count(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    subject = scene.counted
    answer = str(sum(subject.matches(o) for o in scene.objects))
    if subject == Subject():
        text = rng.choice(("how many objects are there?", "how many shapes are in the image?"))
    else:
        noun = f"{subject.shape}s" if subject.shape else f"{subject.colour} {_thing(scene, plural=True)}"
        noun = noun.replace("crosss", "crosses")
        text = rng.choice((f"how many {noun} are there?", f"how many {noun} are in the image?"))
    return [SceneQuestion(text, answer, "count")]


def _colour(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    templates = ("what color is the {}?", "what is the color of the {}?")
    if len(scene.objects) == 1:
        nouns = {scene.objects[0].colour: ["shape", scene.objects[0].shape]}
    else:
        nouns = {o.colour: [o.shape] for o in _unique(scene, lambda o: o.shape)}
    return [
        SceneQuestion(template.format(noun), colour, "colour")
        for colour, names in nouns.items()
        for noun in names
        for template in templates
    ]


def _shape(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    if len(scene.objects) == 1:
        only = scene.objects[0]
        texts = [
            "what shape is in the image?",
            "what shape does the image contain?",
            "what shape is present?",
        ]
        return [SceneQuestion(t, only.shape, "shape") for t in (*texts, f"what is the {only.colour} shape?")]
    return [
        SceneQuestion(template.format(o.colour), o.shape, "shape")
        for o in _unique(scene, lambda o: o.colour)
        for template in ("what is the {} shape?", "what shape is the {} object?")
    ]


def _size(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    template = rng.choice(("what size is the {}?", "is the {} small, medium or large?"))
    return [SceneQuestion(template.format(name), o.size, "size") for name, o in _named(scene)]


def _position(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    template = rng.choice(("where is the {}?", "in which corner of the image is the {}?"))
    return [
        SceneQuestion(template.format(name), where, "position")
        for name, o in _named(scene)
        if (where := _quarter(o))
    ]


def _relation(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    found = []
    for first, relation, second in _clear_pairs(scene):
        names = f"is the {first.name} {{}} the {second.name}?"
        found.append(SceneQuestion(names.format(relation), "yes", "relation"))
        found.append(SceneQuestion(names.format(_OPPOSITE[relation]), "no", "relation"))
    return found


def _neighbour(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    """ "what is above the red circle?" where exactly one object is, and no other nearly is."""
    found = []
    for name, anchor in _named(scene):
        others = [o for o in scene.objects if o is not anchor]
        for relation, holds in _RELATIONS.items():
            there = [o for o in others if holds(o, anchor)]
            if len(there) == 1 and all(o is there[0] or holds(anchor, o) for o in others):
                found.append(SceneQuestion(f"what is {relation} the {name}?", there[0].name, "neighbour"))
    return found


def _more(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    """ "are there more circles than stars?", at least one of the two being there."""
    values: tuple[str, ...]
    if rng.random() < 0.5:
        counts, values = Counter(o.shape for o in scene.objects), SHAPES
        plural = {value: "crosses" if value == "cross" else f"{value}s" for value in values}
    else:
        counts, values = Counter(o.colour for o in scene.objects), COLOURS
        plural = {value: f"{value} {_thing(scene, plural=True)}" for value in values}
    pairs = [(a, b) for a in values for b in values if a != b and counts[a] + counts[b]]
    # Where one is absent the answer is easy; such pairs are needed only if all that is there ties.
    if len({counts[value] for value in values if counts[value]}) > 1:
        pairs = [(a, b) for a, b in pairs if counts[a] and counts[b]]
    return [
        SceneQuestion(f"are there more {plural[a]} than {plural[b]}?", _yes(counts[a] > counts[b]), "more")
        for a, b in pairs
    ]


def _larger(scene: Scene, rng: random.Random) -> list[SceneQuestion]:
    word, sign = rng.choice((("larger", 1), ("smaller", -1)))
    named = list(_named(scene))
    return [
        SceneQuestion(f"is the {a} {word} than the {b}?", _yes(difference > 0), "larger")
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
    """(name, how many), in order of first appearance."""
    return list(Counter(f"{o.size} {o.name}" if sizes else o.name for o in objects).items())


def _listing(objects: Sequence[SceneObject], sizes: bool) -> str:
    parts = []
    for name, number in _grouped(objects, sizes):
        plural = f"{name}es" if name.endswith("cross") else f"{name}s"
        parts.append(with_article(name) if number == 1 else f"{_NUMBERS[number]} {plural}")
    return join_list(parts)


def _objects(number: int) -> str:
    return "one object" if number == 1 else f"{_NUMBERS[number]} objects"


def _thing(scene: Scene, plural: bool = False) -> str:
    # easy-VQA says "a red shape"; scenes of several objects say so in half of the cases.
    word = "shape" if len(scene.objects) == 1 or scene.index % 2 else "object"
    return f"{word}s" if plural else word


def _a(item: SceneObject) -> str:
    return with_article(item.name)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
