"""Everyday pictures on their ground: side by side, visible, varied without becoming another thing."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from everyday_cases import blob
from PIL import Image

from llava_tuning.data.everyday import compose as compose_module
from llava_tuning.data.everyday.colour import main_colour
from llava_tuning.data.everyday.compose import compose, varied
from llava_tuning.data.everyday.conversations import write_conversations
from llava_tuning.data.everyday.names import has_a_side
from llava_tuning.data.everyday.table import EverydayPicture, write_table
from llava_tuning.data.load import load_records


def test_a_composed_picture_shows_its_things_from_left_to_right(tmp_path: Path):
    for colour in ("red", "blue"):
        blob(colour, tmp_path / f"{colour}.png")
    things = [Image.open(tmp_path / f"{colour}.png") for colour in ("red", "blue")]
    for seed in range(10):
        canvas = compose(things, random.Random(seed), 96)
        assert (canvas.size, canvas.mode) == ((96, 96), "RGB")
        red, blue = (
            [x for x in range(96) for y in range(96) if canvas.getpixel((x, y)) == rgb]
            for rgb in ((255, 0, 0), (0, 0, 255))
        )
        assert red and blue and max(red) < min(blue)
    assert compose(things, random.Random(3), 96).tobytes() == compose(things, random.Random(3), 96).tobytes()


def test_a_varied_picture_keeps_its_colour_where_it_makes_the_thing():
    rng = random.Random(0)
    kept, others = set(), Counter[bool]()
    for _ in range(150):
        picture = Image.new("RGBA", (40, 40))
        picture.paste(tuple(rng.randrange(256) for _ in range(3)), (4, 4, 36, 30))
        if colour := main_colour(picture):
            assert main_colour(varied(picture, rng, keeps_hue=True)) == colour
            kept.add(colour)
            others[main_colour(varied(picture, rng)) == colour] += 1
    assert len(kept) >= 9 and others[False] > 30


def test_what_is_said_of_a_colour_is_true_of_what_was_drawn(tmp_path: Path):
    """A red ball is drawn in other colours too, and called by them."""
    blob("red", tmp_path / "a.png")
    row = EverydayPicture("a.png", "openmoji", "ball", None, "objects", "game", "red", "train")
    write_table(tmp_path, [row])
    files = write_conversations(tmp_path, tmp_path / "out", 120, size=64)
    said = Counter[bool]()
    tones = {"red": (220, 30, 30), "green": (40, 160, 40), "blue": (40, 60, 220), "yellow": (240, 220, 40)}
    for record in load_records(files["finetune"]):
        turns = [turn.value for turn in record.conversations]
        colour = next((a for q, a in zip(turns[::2], turns[1::2], strict=True) if "colo" in q), "")
        if colour not in tones:
            continue
        with Image.open(tmp_path / "out" / (record.image or "")) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=float).reshape(-1, 3)
        seen = pixels[np.abs(pixels - pixels[0]).sum(1) > 90].mean(0)  # what is not ground
        chroma = {name: np.subtract(tone, np.mean(tone)) for name, tone in tones.items()}
        nearest = max(
            chroma, key=lambda name: np.dot(seen - seen.mean(), chroma[name]) / np.linalg.norm(chroma[name])
        )
        said[nearest == colour] += 1
    assert said[True] > 20 and said[False] <= said[True] / 10


def test_a_varied_picture_is_bent(monkeypatch: pytest.MonkeyPatch):
    """A straight line through its middle is not straight any more, as it would be if it were turned alone."""
    picture = Image.new("RGBA", (96, 96))
    picture.paste("black", (8, 44, 88, 52))

    def straightness(seed: int) -> float:
        alpha = np.asarray(varied(picture, random.Random(seed)).getchannel("A")) > 127
        columns = np.flatnonzero(alpha.any(0))[8:-8]
        middle = [np.flatnonzero(alpha[:, column]).mean() for column in columns]
        return float(np.abs(middle - np.polyval(np.polyfit(columns, middle, 1), columns)).max())

    bent = [straightness(seed) for seed in range(60)]
    monkeypatch.setattr(compose_module, "_BEND", 0.0)
    assert max(straightness(seed) for seed in range(60)) < 0.6
    assert sum(one > 0.7 for one in bent) > 24


@pytest.mark.parametrize(
    ("name", "sided"),
    [
        ("waxing crescent moon", True),
        ("last quarter moon face", True),
        ("chart decreasing", True),
        ("Letter B", True),
        ("headquarters", False),
        ("lettuce", False),
    ],
)
def test_what_a_mirror_makes_another_thing_of(name: str, sided: bool):
    assert has_a_side(name) == sided


def test_names_with_a_side_are_not_mirrored(tmp_path: Path):
    """A picture that is tall on its left and low on its right: which side is tall in what is written."""
    sides: dict[str, set[bool]] = {"loupe": set(), "loupe tilted left": set()}
    for name, found in sides.items():
        folder, out = tmp_path / name, tmp_path / f"{name} out"
        folder.mkdir()
        picture = Image.new("RGBA", (64, 64))
        picture.paste("blue", (0, 0, 24, 64))
        picture.paste("blue", (24, 44, 64, 64))
        picture.save(folder / "a.png")
        write_table(
            folder, [EverydayPicture("a.png", "openmoji", name, None, "objects", "tool", None, "train")]
        )
        write_conversations(folder, out, 24, size=64)
        for path in (out / "images").iterdir():
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"), dtype=int)
            ground = next(
                p for p in pixels[[0, 0, -1, -1], [0, -1, 0, -1]] if (pixels == p).all(2).sum() > 200
            )
            columns = np.flatnonzero((np.abs(pixels - ground).sum(2) > 60).any(0))
            weight = (np.abs(pixels - ground).sum(2) > 60).sum(0)
            found.add(bool(np.average(np.arange(64), weights=weight) < (columns[0] + columns[-1]) / 2))
    assert sides == {"loupe": {True, False}, "loupe tilted left": {True}}


def test_white_things_stay_visible(tmp_path: Path):
    blob("white", tmp_path / "white.png")
    white = Image.open(tmp_path / "white.png")
    for seed in range(30):
        ground = compose([white], random.Random(seed), 48).getpixel((0, 0))
        assert math.dist(ground, (255, 255, 255)) >= 60
