"""Photographs from packages of free licence, to train and to test: the model is to decline to name them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.models.pictures import PictureError, open_picture

SIDE = 256  # pixels of the shorter side at most
# GCompris's activities that show photographs. Its files are Qt's resources, WebP pictures stored as they are.
ACTIVITIES = (
    "categorization",
    "chronos",
    "clickgame",
    "details",
    "erase",
    "explore_farm_animals",
    "explore_monuments",
    "explore_world_animals",
    "explore_world_music",
)
TESTED = {
    "mate": "Aqua Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings YellowFlower",
    "lomiri": "Bridge Dragonfly Picture_0B Picture_1A Wine aitzgorri free friends greentock life "
    "picosdeeuropa seeding sunset",
    "skimage": "astronaut camera chelsea coffee motorcycle_left rocket",
}
_LEAST = 200  # pixels of the shorter side; icons are smaller
_RIFF = re.compile(rb"RIFF(....)WEBP", re.DOTALL)


def build_photographs(
    packages: dict[str, Path], out: Path, progress: Callable[[int], None] = lambda done: None
) -> dict[str, int]:
    """Write `train/….jpg` and `test/….jpg`, from packages that have nothing in common.

    Things on a white ground, as clip art shows them, are left out.

    Args:
        packages: key → unpacked folder, as `packages.fetch` returns them.
        out: folder to write to.
        progress: called with the number of photographs so far.

    Returns:
        the number of photographs in each of the two folders.

    Raises:
        UserError: a package holds none that are known, as another version's might.
    """
    done = 0
    counts = {}
    for split, found in (("train", _to_train(packages["gcompris"])), ("test", _to_test(packages))):
        (out / split).mkdir(parents=True, exist_ok=True)
        before = done
        for name, photograph in found:
            photograph.thumbnail((SIDE * max(photograph.size) // min(photograph.size),) * 2)
            photograph.save(out / split / f"{name}.jpg", quality=90)
            done += 1
            progress(done)
        counts[split] = done - before
    return counts


def _to_train(package: Path) -> Iterator[tuple[str, Image.Image]]:
    """Each photograph once, and its name."""
    seen: set[bytes] = set()
    for activity in ACTIVITIES:
        number = 0
        for data in _webp_pictures(_one(package, f"{activity}.rcc").read_bytes()):
            if data in seen:
                continue
            seen.add(data)
            try:
                picture = open_picture(data)
            except PictureError:
                continue
            if min(picture.size) >= _LEAST and not _stands_on_white(picture):
                yield f"{activity}-{number}", picture
                number += 1


def _to_test(packages: dict[str, Path]) -> Iterator[tuple[str, Image.Image]]:
    for key, names in TESTED.items():
        for name in names.split():
            yield f"{key}-{name}", open_picture(_one(packages[key], f"{name}[._]*"))


def _one(package: Path, pattern: str) -> Path:
    found = sorted(path for path in package.rglob(pattern) if path.suffix in (".rcc", ".jpg", ".png"))
    if not found:
        raise UserError(f"{package}: holds no {pattern}; Debian 12's version of the package does")
    return found[0]


def _webp_pictures(resources: bytes) -> Iterator[bytes]:
    """What of the bytes is a WebP file: 'RIFF', the length of what follows in little endian, 'WEBP'."""
    for match in _RIFF.finditer(resources):
        (length,) = struct.unpack("<I", match[1])
        yield resources[match.start() : match.start() + 8 + length]


def _stands_on_white(picture: Image.Image) -> bool:
    """Whether half of the picture's edge is white."""
    pixels = np.asarray(picture)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool((edge.min(axis=1) > 240).mean() > 0.5)
