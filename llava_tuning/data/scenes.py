"""Drawn scenes: an endless, seeded set of pictures with captions and questions whose answers are exact.

A scene is decided by (seed, index) alone, so the first 100 scenes of a set of 10,000 are the set of 100.
Answers are in easy-VQA's style and its colour and shape names are kept, so that one model answers both alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from itertools import count as numbers
from pathlib import Path
from typing import Literal

from llava_tuning.data.easy_vqa import COLOURS as EASY_VQA_COLOURS
from llava_tuning.data.easy_vqa import SHAPES as EASY_VQA_SHAPES
from llava_tuning.data.parallel import on_all_cores
from llava_tuning.data.phrases import DESCRIBE, LANGUAGES, LanguageChoice, as_typed
from llava_tuning.data.records import make_record, write_json
from llava_tuning.errors import UserError

Size = Literal["small", "medium", "large"]

SHAPES = (*EASY_VQA_SHAPES, "star", "diamond", "cross", "ring", "heart")
COLOURS = (*EASY_VQA_COLOURS, "orange", "purple")
MAX_OBJECTS = 5
# Radius of an object as a fraction of the picture's side; gaps between the ranges keep sizes tellable.
RADII: dict[Size, tuple[float, float]] = {
    "small": (0.07, 0.08),
    "medium": (0.11, 0.125),
    "large": (0.16, 0.18),
}
_CLEARANCE = 0.02  # least distance between two objects' circles, and to the picture's edge


@dataclass(frozen=True)
class SceneObject:
    """One object; x runs to the right and y downwards, in fractions of the picture's side."""

    shape: str
    colour: str
    size: Size
    x: float
    y: float
    radius: float  # of the circle that holds the whole shape
    tilt: float  # degrees
    stretch: float  # a rectangle's height relative to its width

    @property
    def name(self) -> str:
        """Colour and shape, e.g. `red circle`."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Subject:
    """What is counted: objects of a shape, of a colour, or (both None) all objects."""

    shape: str | None = None
    colour: str | None = None

    def matches(self, item: SceneObject) -> bool:
        """Whether the object is one of those counted."""
        return self.shape in (None, item.shape) and self.colour in (None, item.colour)


@dataclass(frozen=True)
class Scene:
    """The objects of one picture, and the seed of everything about it that no answer depends on."""

    seed: int
    index: int
    objects: tuple[SceneObject, ...]
    counted: Subject

    def rng(self, purpose: str) -> random.Random:
        """A generator of its own for each purpose, so that a new question does not change the pictures."""
        return random.Random(f"scene {self.seed} {self.index} {purpose}")


def scene(seed: int, index: int) -> Scene:
    """The scene of this seed and index: 1 to 5 objects that neither touch nor leave the picture.

    The answer to the scene's counting question is drawn first and the objects after it, so that over many
    scenes 1 to 5 objects in all, and 0 to 5 of a kind, are equally frequent answers.
    """
    rng = random.Random(f"scene {seed} {index}")
    kind = rng.choice(("all", "shape", "colour"))
    if kind == "all":
        counted, total, matching = Subject(), rng.randint(1, MAX_OBJECTS), 0
    else:
        counted = Subject(**{kind: rng.choice(SHAPES if kind == "shape" else COLOURS)})
        matching = rng.randint(0, MAX_OBJECTS)
        total = rng.randint(max(1, matching), MAX_OBJECTS)
    # Few colours or shapes in one scene make repeated kinds, without which comparing counts is trivial.
    shapes = rng.sample(SHAPES, rng.randint(2, len(SHAPES)))
    colours = rng.sample(COLOURS, rng.randint(2, len(COLOURS)))
    looks: list[tuple[str, str]] = []
    for number in range(total):
        shape, colour = rng.choice(shapes), rng.choice(colours)
        if number < matching:
            shape, colour = counted.shape or shape, counted.colour or colour
        elif shape == counted.shape:
            shape = rng.choice([other for other in SHAPES if other != shape])
        elif colour == counted.colour:
            colour = rng.choice([other for other in COLOURS if other != colour])
        looks.append((shape, colour))
    rng.shuffle(looks)
    while (placed := _place(looks, rng)) is None:
        pass
    return Scene(seed, index, placed, counted)


def write_scenes(
    out: Path,
    count: int,
    seed: int = 0,
    size: int = 224,
    progress: Callable[[int], None] | None = None,
    language: LanguageChoice = "en",
    confusable: float = 0.0,
) -> dict[str, Path]:
    """Write `count` scenes: `pretrain.json` (captions), `finetune.json` (questions) and `images/`.

    Drawn by several processes, see `on_all_cores` for scripts that call it.

    Args:
        out: folder to write to; pictures are named relative to it.
        count: number of scenes, indices 0 to `count` - 1; with `confusable` others are left out.
        seed: another seed makes other scenes.
        size: side of the square pictures, in pixels.
        progress: called with the number of pictures written so far.
        language: "both" asks about and describes each scene in English and, in a record of its own, Chinese.
        confusable: share of scenes, at least, whose objects are easily taken for one another.

    Returns:
        name → path of the data files, keys `pretrain` and `finetune`.

    Raises:
        UserError: `count` is below 1, `size` is too small for the smallest object to be told apart, or
            `confusable` is no share.
    """
    from llava_tuning.data.scene_text import captions, questions

    if count < 1:
        raise UserError(f"{count} scenes leave no data; give a count of 1 or more")
    if not 32 <= size <= 2048:
        raise UserError(f"a picture of {size} pixels a side is not useful; choose a size from 32 to 2048")
    if not 0 <= confusable <= 1:
        raise UserError(f"{confusable} is no share of the scenes; give a number from 0 to 1")
    (out / "images").mkdir(parents=True, exist_ok=True)

    scenes: list[Scene] = []
    indices = list(islice(_indices(seed, confusable), count))
    for drawn in on_all_cores(partial(_write_picture, out, seed, size), indices):
        scenes.append(drawn)
        if progress:
            progress(len(scenes))
    pretrain, finetune = [], []
    for drawn in scenes:
        for code in LANGUAGES[language]:
            rng = drawn.rng("phrasing")
            caption = (rng.choice(DESCRIBE[code]), rng.choice(captions(drawn, code)))
            name = f"scene-{seed}-{drawn.index}{'' if code == 'en' else f'-{code}'}"
            typed = as_typed([caption], f"{name}-caption")
            pretrain.append(make_record(f"{name}-caption", _image_name(drawn), typed))
            turns = as_typed([(q.text, q.answer) for q in questions(drawn, code)], name)
            finetune.append(make_record(name, _image_name(drawn), turns))
    paths = {"pretrain": out / "pretrain.json", "finetune": out / "finetune.json"}
    write_json(paths["pretrain"], pretrain)
    write_json(paths["finetune"], finetune)
    return paths


def _is_confusable(drawn: Scene) -> bool:
    """Whether three objects have a colour in common and not their shape, or a shape and not their colour."""
    return any(
        (len({item.colour for item in three}) == 1) != (len({item.shape for item in three}) == 1)
        for three in combinations(drawn.objects, 3)
    )


def _indices(seed: int, confusable: float) -> Iterator[int]:
    """Without end; of any number of them, the first, a share of `confusable` at least is of such scenes."""
    taken = plain = 0
    for index in numbers():
        if confusable and not _is_confusable(scene(seed, index)):
            if plain + 1 > (1 - confusable) * (taken + 1):
                continue
            plain += 1
        taken += 1
        yield index


def _write_picture(out: Path, seed: int, size: int, index: int) -> Scene:
    from llava_tuning.data.drawing import draw

    drawn = scene(seed, index)
    draw(drawn, size).save(out / _image_name(drawn), compress_level=6)
    return drawn


def _image_name(drawn: Scene) -> str:
    return f"images/{drawn.seed}-{drawn.index}.png"


def _place(looks: list[tuple[str, str]], rng: random.Random) -> tuple[SceneObject, ...] | None:
    """Sizes and positions by rejection; None where the objects did not fit and sizes must be drawn again."""
    placed: list[SceneObject] = []
    for shape, colour in looks:
        size: Size = rng.choice(("small", "medium", "large"))
        radius = rng.uniform(*RADII[size])
        tilt = rng.choice((0.0, rng.uniform(-20, 20)))
        stretch = rng.uniform(0.45, 1.0)
        for _ in range(60):
            edge = radius + _CLEARANCE
            x, y = rng.uniform(edge, 1 - edge), rng.uniform(edge, 1 - edge)
            reach = radius + _CLEARANCE
            if all((x - o.x) ** 2 + (y - o.y) ** 2 > (reach + o.radius) ** 2 for o in placed):
                placed.append(SceneObject(shape, colour, size, x, y, radius, tilt, stretch))
                break
        else:
            return None
    return tuple(placed)
