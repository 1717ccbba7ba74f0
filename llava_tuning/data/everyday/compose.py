"""Put everyday pictures on a ground, moved and scaled, one alone or several side by side."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageStat

from llava_tuning.data.everyday.colour import main_colour
from llava_tuning.data.everyday.restyle import restyled

_LEAST_CONTRAST = 60  # distance in RGB between a picture's mean colour and the ground
_OPAQUE = 128  # of 255
_TURN = 12  # degrees
_TRIES = 8  # to find a style in which the main colour stays
_CELLS, _BEND = 3, 0.06  # a drawing is bent at the corners of so many cells, by up to this share of its side
_LIGHT, _DARK = (215, 255), (15, 70)  # range of each channel


def compose(pictures: Sequence[Image.Image], rng: random.Random, size: int) -> Image.Image:
    """An RGB picture of `size`×`size` pixels that shows RGBA pictures from left to right.

    Each fills 60 to 95 % of its column, several at least 75 %; the ground is white, light or dark, and
    plain, in a tone that none of them drowns in.
    """
    canvas = Image.new("RGB", (size, size), _ground(pictures, rng))
    column = size / len(pictures)
    for number, picture in enumerate(pictures):
        box = picture.getchannel("A").point(lambda a: 255 if a >= _OPAQUE else 0).getbbox()
        thing = picture.crop(box) if box else picture
        side = column * rng.uniform(0.6 if len(pictures) == 1 else 0.75, 0.95)
        scale = side / max(thing.size)
        width, height = (max(1, round(scale * length)) for length in thing.size)
        thing = thing.resize((width, height), Image.Resampling.LANCZOS)
        # One alone is moved anywhere, those side by side stay in their column and near the middle line.
        x = number * column + rng.uniform(0, column - width)
        y = (size - height) * (rng.random() if len(pictures) == 1 else rng.uniform(0.3, 0.7))
        canvas.paste(thing, (round(x), round(y)), thing)
    return canvas


def varied(
    picture: Image.Image, rng: random.Random, mirror: bool = True, keeps_hue: bool = False
) -> Image.Image:
    """An RGBA picture in another style, a little turned and bent, in half of the cases mirrored.

    So it is as another hand might have drawn it. Its main colour may be another one.

    Args:
        picture: RGBA.
        mirror: False for what would be another thing in a mirror.
        keeps_hue: for what would be another thing in another colour; as it is where no style keeps that.
    """
    for _ in range(_TRIES if keeps_hue else 1):
        found = picture
        if mirror and rng.random() < 0.5:
            found = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        found = _restyled(found, rng, keeps_hue)
        found = _bent(found.rotate(rng.uniform(-_TURN, _TURN), Image.Resampling.BICUBIC, expand=True), rng)
        if not keeps_hue or main_colour(found) == main_colour(picture):
            return found
    return picture


def _restyled(picture: Image.Image, rng: random.Random, keeps_hue: bool) -> Image.Image:
    generator = torch.Generator().manual_seed(rng.getrandbits(31))
    drawing = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    found = restyled(
        drawing, torch.tensor([keeps_hue]), lambda *shape: torch.rand(1, *shape, generator=generator)
    )[0]
    colours, alpha = found[:3], found[3:]
    pixels = torch.cat([colours / alpha.clamp(min=1 / 255), alpha]).clamp(0, 1)
    return Image.fromarray((pixels.permute(1, 2, 0) * 255).round().byte().numpy(), "RGBA")


def _bent(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The picture with the inner corners of a grid moved, each its own way."""
    width, height = picture.size
    reach = rng.uniform(0, _BEND)
    corners = {}
    for row in range(_CELLS + 1):
        for column in range(_CELLS + 1):
            inside = 0 < row < _CELLS, 0 < column < _CELLS
            moves = [rng.uniform(-reach, reach) if free else 0.0 for free in inside]
            corners[row, column] = (column / _CELLS + moves[1]) * width, (row / _CELLS + moves[0]) * height
    mesh = []
    for row in range(_CELLS):
        for column in range(_CELLS):
            left, right = (round(width * c / _CELLS) for c in (column, column + 1))
            top, bottom = (round(height * r / _CELLS) for r in (row, row + 1))
            ends = ((row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1))
            mesh.append(((left, top, right, bottom), tuple(n for end in ends for n in corners[end])))
    return picture.transform(picture.size, Image.Transform.MESH, mesh, Image.Resampling.BICUBIC)


def _ground(pictures: Sequence[Image.Image], rng: random.Random) -> tuple[int, int, int]:
    means = [_mean(picture) for picture in pictures]
    tone = (255, 255, 255)
    for _ in range(50):
        kind = rng.choice(("white", "light", "light", "dark"))
        low, high = _DARK if kind == "dark" else _LIGHT
        red, green, blue = (rng.randint(low, high) for _ in range(3))
        tone = (255, 255, 255) if kind == "white" else (red, green, blue)
        if all(math.dist(mean, tone) >= _LEAST_CONTRAST for mean in means):
            break
    return tone


def _mean(picture: Image.Image) -> tuple[float, ...]:
    """The mean colour of what is not transparent."""
    seen = picture.getchannel("A").point(lambda a: 255 if a >= _OPAQUE else 0)
    if seen.getbbox() is None:
        return (128.0, 128.0, 128.0)
    return tuple(ImageStat.Stat(picture.convert("RGB"), seen).mean)
