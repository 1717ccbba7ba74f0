"""The colour that most of a drawing has, by its name."""

from __future__ import annotations

import numpy as np
from PIL import Image

from llava_tuning.data.everyday.table import COLOURS

LEAST_SHARE = 0.45  # of the drawing's pixels
LEAD = 1.8  # times the second colour's share


def main_colour(picture: Image.Image) -> str | None:
    """One of COLOURS, or None where none clearly prevails; outlines in black count only where most is black.

    Args:
        picture: RGBA; transparent pixels are the ground and do not count.
    """
    pixels = np.asarray(picture.convert("RGBA")).reshape(-1, 4)
    pixels = pixels[pixels[:, 3] > 127, :3]
    if len(pixels) < 20:
        return None
    shares = np.bincount(_names(pixels.astype(np.float32) / 255), minlength=len(COLOURS)) / len(pixels)
    black = COLOURS.index("black")
    if shares[black] < LEAST_SHARE and shares[black] < 1:
        shares[black] = 0
        shares /= shares.sum()
    second, first = np.sort(shares)[-2:]
    if first < LEAST_SHARE or first < LEAD * second:
        return None
    return COLOURS[int(shares.argmax())]


def _names(colours: np.ndarray) -> np.ndarray:
    """Indices into COLOURS for RGB values of 0 to 1, shape (n, 3)."""
    top, low = colours.max(1), colours.min(1)
    spread = top - low
    red, green, blue = colours.T
    with np.errstate(divide="ignore", invalid="ignore"):
        hue = np.select(
            [top == red, top == green],
            [((green - blue) / spread) % 6, (blue - red) / spread + 2],
            (red - green) / spread + 4,
        )
        saturation = np.where(top > 0, spread / top, 0)
    hue = np.nan_to_num(hue) * 60
    pale = (saturation < 0.5) & (top > 0.8)
    rules = [
        (top < 0.22, "black"),
        ((saturation < 0.12) & (top > 0.88), "white"),
        (saturation < 0.18, "gray"),
        (((hue < 20) | (hue >= 340)) & pale, "pink"),
        ((hue >= 290) & (hue < 345) & (top > 0.6), "pink"),
        ((hue >= 8) & (hue < 45) & (top < 0.8) & (saturation < 0.85), "brown"),
        ((hue < 15) | (hue >= 340), "red"),
        (hue < 43, "orange"),
        (hue < 68, "yellow"),
        (hue < 168, "green"),
        (hue < 255, "blue"),
    ]
    indices = [COLOURS.index(name) for _, name in rules]
    return np.select([rule for rule, _ in rules], indices, COLOURS.index("purple"))
