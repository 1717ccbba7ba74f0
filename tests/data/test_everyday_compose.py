"""Everyday pictures on their ground: side by side, visible, varied without becoming another thing."""

from __future__ import annotations

import math
import random
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


def test_a_varied_picture_keeps_its_colour():
    rng = random.Random(0)
    seen = set()
    for _ in range(150):
        picture = Image.new("RGBA", (40, 40))
        picture.paste(tuple(rng.randrange(256) for _ in range(3)), (4, 4, 36, 30))
        if colour := main_colour(picture):
            assert main_colour(varied(picture, rng, colour)) == colour
            seen.add(colour)
    assert len(seen) >= 9


def test_a_varied_picture_is_bent(monkeypatch: pytest.MonkeyPatch):
    """A straight line through its middle is not straight any more, as it would be if it were turned alone."""
    picture = Image.new("RGBA", (96, 96))
    picture.paste("black", (8, 44, 88, 52))

    def straightness(seed: int) -> float:
        alpha = np.asarray(varied(picture, random.Random(seed)).getchannel("A")) > 127
        columns = np.flatnonzero(alpha.any(0))[8:-8]
        middle = [np.flatnonzero(alpha[:, column]).mean() for column in columns]
        return float(np.abs(middle - np.polyval(np.polyfit(columns, middle, 1), columns)).max())

    bent = [straightness(seed) for seed in range(20)]
    monkeypatch.setattr(compose_module, "_BEND", 0.0)
    assert max(straightness(seed) for seed in range(20)) < 0.6
    assert sum(one > 0.7 for one in bent) > 8


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
    """A picture that is red on its left and blue on its right: which side is red in what is written."""
    sides: dict[str, set[bool]] = {"loupe": set(), "loupe tilted left": set()}
    for name, found in sides.items():
        folder, out = tmp_path / name, tmp_path / f"{name} out"
        folder.mkdir()
        picture = Image.new("RGBA", (64, 64), "blue")
        picture.paste("red", (0, 0, 32, 64))
        picture.save(folder / "a.png")
        write_table(
            folder, [EverydayPicture("a.png", "openmoji", name, None, "objects", "tool", None, "train")]
        )
        write_conversations(folder, out, 24, size=64)
        for path in (out / "images").iterdir():
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"), dtype=int)
            difference = pixels[..., 0] - pixels[..., 2]
            red, blue = (np.flatnonzero(pure.any(0)).mean() for pure in (difference > 150, difference < -150))
            found.add(bool(red < blue))
    assert sides == {"loupe": {True, False}, "loupe tilted left": {True}}


def test_white_things_stay_visible(tmp_path: Path):
    blob("white", tmp_path / "white.png")
    white = Image.open(tmp_path / "white.png")
    for seed in range(30):
        ground = compose([white], random.Random(seed), 48).getpixel((0, 0))
        assert math.dist(ground, (255, 255, 255)) >= 60
