"""Emoji by code: their names, and each style's drawing of them."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

GROUPS = ("smileys-emotion", "animals-nature", "food-drink", "travel-places", "activities", "objects")
# Names that a picture of this size does not tell apart: 24 clock faces, and signs that are text.
_LEFT_OUT = re.compile(r"o’clock|-thirty|^(input |squared )|button$|mailbox|^heart ")
_NUMBERED = re.compile(r"-\d$")
SVG = "http://www.w3.org/2000/svg"
# What drawings in one tone are drawn in, so that a thing is known by its shape and a colour by itself.
TONES = ("#222", "#777", "#d22", "#e80", "#fc3", "#2a2", "#25d", "#82c", "#f8b", "#843")


@dataclass(frozen=True)
class Emoji:
    """`code` is its code points in hexadecimal, joined by hyphens, without variation selectors."""

    code: str
    name: str
    name_zh: str
    group: str
    subgroup: str

    @property
    def text(self) -> str:
        """The emoji as characters."""
        return "".join(chr(int(point, 16)) for point in self.code.split("-"))


def read_emoji(package: Path) -> list[Emoji]:
    """Emoji that show things, creatures, food, places and faces, out of the package emojibase-data."""
    data = package / "package"
    groups = json.loads((data / "meta" / "groups.json").read_text(encoding="utf-8"))
    chinese = {row["hexcode"]: row["label"] for row in _rows(data, "zh")}
    found = []
    for row in _rows(data, "en"):
        group = groups["groups"].get(str(row.get("group")))
        if group not in GROUPS or _LEFT_OUT.search(row["label"]):
            continue
        subgroup = groups["subgroups"][str(row["subgroup"])]
        found.append(
            Emoji(plain_code(row["hexcode"]), row["label"], chinese[row["hexcode"]], group, subgroup)
        )
    return found


def plain_code(code: str) -> str:
    """A code without variation selectors, in capitals."""
    return "-".join(point for point in code.upper().split("-") if point not in ("FE0E", "FE0F"))


def openmoji(package: Path) -> Iterator[tuple[str, str]]:
    """(code, SVG) of OpenMoji."""
    for path in sorted((package / "package" / "src").glob("*/*/*.svg")):
        yield plain_code(path.stem), _without_grid(path.read_text(encoding="utf-8"))


def fluent(package: Path, style: str, emoji: list[Emoji]) -> Iterator[tuple[str, str]]:
    """(code, SVG) of Fluent emoji in one of the styles "modern", "flat" and "high-contrast"."""
    folder = package / "package" / "icons" / style
    by_slug = _by_slug(emoji)
    for path in sorted(folder.glob("*.svg")):
        if code := by_slug.get(_slug(path.stem)):
            yield code, path.read_text(encoding="utf-8")


def fluent_solid(package: Path) -> Iterator[tuple[str, Path]]:
    """(code, file) of Fluent emoji as solids with light and shade."""
    for path in sorted((package / "package" / "assets").glob("*.webp")):
        yield plain_code(path.stem), path


def tone(one: Emoji) -> str:
    """The colour of an emoji in a style of one tone, the same each time."""
    return TONES[hashlib.sha256(one.code.encode()).digest()[0] % len(TONES)]


def iconify(package: Path, emoji: list[Emoji]) -> Iterator[tuple[str, str]]:
    """(code, SVG) of an icon set in Iconify's format; by code where the set says it, by name otherwise.

    Of several drawings of a thing ("bird-1", "bird-2") the first is taken; those of one tone have `tone`.
    """
    data = package / "package"
    icons: dict[str, Any] = json.loads((data / "icons.json").read_text(encoding="utf-8"))
    characters = json.loads((data / "chars.json").read_text(encoding="utf-8"))
    codes = {name: plain_code(code) for code, name in characters.items()}
    by_slug, by_code = _by_slug(emoji), {one.code: one for one in emoji}
    chosen: dict[str, str] = {}
    for plain in (lambda name: name, lambda name: _NUMBERED.sub("", name)):
        for name in icons["icons"]:
            code = codes.get(name) or by_slug.get(_slug(plain(name)))
            if code in by_code:
                chosen.setdefault(code, name)
    for code, name in chosen.items():
        icon = icons["icons"][name]
        width, height = (icon.get(key, icons.get(key, 16)) for key in ("width", "height"))
        left, top = (icon.get(key, icons.get(key, 0)) for key in ("left", "top"))
        yield (
            code,
            f'<svg xmlns="{SVG}" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" color="{tone(by_code[code])}">{icon["body"]}</svg>',
        )


def _without_grid(svg: str) -> str:
    """OpenMoji's sources hold the grid that they were drawn on."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)
    for group in root.findall(f"{{{SVG}}}g"):
        if group.get("id") == "grid":
            root.remove(group)
    return ElementTree.tostring(root, encoding="unicode")


def _rows(data: Path, language: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((data / language / "data.json").read_text(encoding="utf-8"))
    return rows


def _by_slug(emoji: list[Emoji]) -> dict[str, str]:
    """Slug → code, by today's name and, for sets that are older than it, Unicode's name of the character."""
    found: dict[str, str] = {}
    for one in emoji:
        if "-" not in one.code:
            found.setdefault(_slug(unicodedata.name(one.text, one.name)), one.code)
    return found | {_slug(one.name): one.code for one in emoji}


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
