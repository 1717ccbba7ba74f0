"""Draw what an answer attended to over the pictures that it was about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:  # torch is not needed to draw, nor in front of another server
    from llava_tuning.inference.attention_map import PictureAttention

SIDE = 448  # pixels of a drawn picture's longer side, at most
_STOPS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the highest weight
_COLOURS = ((38, 28, 120), (106, 36, 160), (214, 50, 108), (252, 140, 40), (255, 232, 96))
_OPACITY = (0.0, 0.35, 0.62, 0.78, 0.85)


def draw_attention(found: Sequence[PictureAttention]) -> list[Image.Image]:
    """Each picture in grey under its patches' weights, from nothing through violet to yellow for the highest.

    All are on one scale: a picture that was hardly attended to stays grey beside one that was. Each patch
    counts at its middle, and between the middles the weights are interpolated.
    """
    peak = max((float(one.weights.max()) for one in found), default=0.0) or 1.0
    return [_draw(one, peak) for one in found]


def _draw(one: PictureAttention, peak: float) -> Image.Image:
    picture = one.image.copy()
    picture.thumbnail((SIDE, SIDE))
    side = max(picture.size)
    square = Image.fromarray((one.weights.numpy() / peak).astype(np.float32)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    # The patches cover the picture padded to a square, itself in the middle.
    left, top = ((side - length) // 2 for length in picture.size)
    level = np.asarray(square.crop((left, top, left + picture.width, top + picture.height)))
    colour = np.stack([np.interp(level, _STOPS, channel) for channel in zip(*_COLOURS, strict=True)], axis=-1)
    opacity = np.interp(level, _STOPS, _OPACITY)[..., None]
    grey = np.asarray(ImageOps.grayscale(picture).convert("RGB"), dtype=np.float32)
    return Image.fromarray((grey * (1 - opacity) + colour * opacity).round().astype(np.uint8))
