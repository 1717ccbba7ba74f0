"""Attention drawn over pictures: at the right place, on one scale."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from app.heat_map import draw_attention
from llava_tuning.inference.attention_map import PictureAttention


def attention(image: Image.Image, row: int, column: int, weight: float = 0.1) -> PictureAttention:
    weights = torch.zeros(6, 6)
    weights[row, column] = weight
    return PictureAttention(image, weights)


def colourful(drawn: Image.Image, x: int, y: int) -> bool:
    red, green, blue = drawn.getpixel((x, y))
    return max(red, green, blue) - min(red, green, blue) > 60


def test_the_hottest_patch_is_yellow_and_what_got_nothing_stays_grey():
    (drawn,) = draw_attention([attention(Image.new("RGB", (384, 384), "blue"), 1, 4)])
    red, green, blue = drawn.getpixel((4 * 64 + 32, 64 + 32))
    assert red > 180 and green > 180 and blue < 140
    assert not colourful(drawn, 32, 300)


@pytest.mark.parametrize(
    ("size", "row", "column", "x", "y"), [((384, 192), 2, 0, 32, 64), ((192, 384), 0, 3, 128, 32)]
)
def test_patches_lie_over_the_picture_padded_to_a_square(size, row, column, x, y):
    (drawn,) = draw_attention([attention(Image.new("RGB", size, "white"), row, column)])
    assert drawn.size == size
    assert colourful(drawn, x, y)
    assert not colourful(drawn, size[0] - x, size[1] - 10)


def test_pictures_share_one_scale_and_are_made_small():
    image = Image.new("RGB", (1344, 1344), "white")
    much, little = draw_attention([attention(image, 0, 0), attention(image, 0, 0, 0.002)])
    assert much.size == little.size == (448, 448)
    assert colourful(much, 37, 37) and not colourful(little, 37, 37)
    assert image.size == (1344, 1344)
