"""Draw a scene with Pillow, four times too large and then reduced, which smooths every edge."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

from llava_tuning.data.scenes import Scene, SceneObject

_OVERSAMPLING = 4
_JITTER = 8  # of each colour channel, out of 255

# The first tone of easy-VQA's eight colours is easy-VQA's own.
PALETTE: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (24, 24, 24)),
    "blue": ((0, 0, 255), (40, 80, 215)),
    "brown": ((165, 42, 42), (125, 75, 35)),
    "gray": ((128, 128, 128), (150, 150, 150)),
    "green": ((0, 255, 0), (35, 165, 60)),
    "red": ((255, 0, 0), (230, 25, 35)),
    "teal": ((0, 128, 128), (20, 150, 150)),
    "yellow": ((255, 255, 0), (245, 215, 30)),
    "orange": ((255, 140, 0), (250, 120, 25)),
    "purple": ((128, 0, 128), (140, 60, 200)),
}
_LEAST_CONTRAST = 110  # distance in RGB between an object and the background


def draw(scene: Scene, size: int = 224) -> Image.Image:
    """The scene as an RGB picture of `size`×`size` pixels; the same scene gives the same pixels."""
    rng = scene.rng("look")
    fills = [_fill(item, rng) for item in scene.objects]
    canvas = _background(fills, size * _OVERSAMPLING, rng)
    pen = ImageDraw.Draw(canvas)
    for item, fill in zip(scene.objects, fills, strict=True):
        _draw_object(pen, item, fill, size * _OVERSAMPLING)
    return canvas.reduce(_OVERSAMPLING)


def _fill(item: SceneObject, rng: random.Random) -> tuple[int, ...]:
    tone = rng.choice(PALETTE[item.colour])
    return tuple(min(255, max(0, channel + rng.randint(-_JITTER, _JITTER))) for channel in tone)


def _background(fills: list[tuple[int, ...]], side: int, rng: random.Random) -> Image.Image:
    """Plain, graded, striped or dotted, in two close tones far enough from every object's colour."""
    while True:
        low, high = rng.choice(((222, 255), (222, 255), (222, 255), (45, 85)))
        first = tuple(rng.randint(low, high) for _ in range(3))
        second = tuple(min(255, max(0, c + rng.randint(-14, 14))) for c in first)
        if all(math.dist(fill, tone) >= _LEAST_CONTRAST for fill in fills for tone in (first, second)):
            break
    style = rng.choice(("plain", "graded", "striped", "dotted"))
    canvas = Image.new("RGB", (side, side), first)
    if style == "graded":
        ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize((side, side))
        canvas.paste(second, (0, 0, side, side), ramp)
    elif style == "striped":
        pen, step, slant = ImageDraw.Draw(canvas), side // rng.randint(6, 14), rng.randint(-side, side)
        for left in range(-2 * side, 3 * side, 2 * step):
            pen.polygon(
                [(left, 0), (left + step, 0), (left + step + slant, side), (left + slant, side)], second
            )
    elif style == "dotted":
        pen, step = ImageDraw.Draw(canvas), side // rng.randint(6, 14)
        for x in range(step // 2, side, step):
            for y in range(step // 2, side, step):
                pen.ellipse((x - step // 5, y - step // 5, x + step // 5, y + step // 5), second)
    return canvas


def _draw_object(pen: ImageDraw.ImageDraw, item: SceneObject, fill: tuple[int, ...], side: int) -> None:
    if item.shape in ("circle", "ring"):
        x, y, radius = item.x * side, item.y * side, item.radius * side
        box = (x - radius, y - radius, x + radius, y + radius)
        if item.shape == "circle":
            pen.ellipse(box, fill)
        else:
            pen.ellipse(box, outline=fill, width=round(0.38 * radius))
        return
    turn = math.radians(item.tilt)
    cos, sin = math.cos(turn) * item.radius, math.sin(turn) * item.radius
    points = [(item.x + cos * u - sin * v, item.y + sin * u + cos * v) for u, v in _outline(item)]
    pen.polygon([(x * side, y * side) for x, y in points], fill)


def _outline(item: SceneObject) -> list[tuple[float, float]]:
    """Corners of the upright shape within the unit circle, y downwards."""
    if item.shape == "rectangle":
        width = 1 / math.hypot(1, item.stretch)
        height = width * item.stretch
        return [(-width, -height), (width, -height), (width, height), (-width, height)]
    if item.shape == "cross":
        arm, reach = 0.3, 0.95
        quarter = ((reach, -arm), (reach, arm), (arm, arm))
        return [_turned(point, 90 * k) for k in range(4) for point in quarter]
    if item.shape == "diamond":
        return [(0.0, -1.0), (0.62, 0.0), (0.0, 1.0), (-0.62, 0.0)]
    if item.shape == "star":
        radii = (1.0, 0.42)
        return [_turned((0.0, -radii[k % 2]), 36 * k) for k in range(10)]
    if item.shape == "heart":
        steps = [2 * math.pi * k / 60 for k in range(60)]
        # The usual heart curve; 17 is its largest distance from the origin.
        return [
            (
                16 * math.sin(t) ** 3 / 17,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 17,
            )
            for t in steps
        ]
    return [_turned((0.0, -1.0), 120 * k) for k in range(3)]  # triangle


def _turned(point: tuple[float, float], degrees: float) -> tuple[float, float]:
    turn = math.radians(degrees)
    x, y = point
    return x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
