"""Drawings that are no emoji: Tux Paint's captioned stamps and Open Clip Art, whose names are file names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STAMPS = Path("usr/share/tuxpaint/stamps")
CLIP_ART = Path("usr/share/openclipart/png")
LONGEST_NAME = 5  # words; longer captions are sentences about the thing
_ARTICLE = re.compile(r"^(an?|the|some) ", re.IGNORECASE)
# Folders of what has no name of its own: pages, patterns, copies.
_NAMELESS = {"unsorted", "special", "logos", "shapes", "decorations", "duplicates", "buttons", "icons"}


@dataclass(frozen=True)
class Drawing:
    """A picture file and what it shows."""

    path: Path
    name: str
    name_zh: str | None
    group: str
    subgroup: str


def stamps(package: Path) -> Iterator[Drawing]:
    """Tux Paint's stamps with a short English caption, and the simplified Chinese one where there is one."""
    root = package / STAMPS
    for caption in sorted(root.rglob("*.txt")):
        picture = next((p for end in (".png", ".svg") if (p := caption.with_suffix(end)).is_file()), None)
        if picture is None:
            continue
        english, *others = caption.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        name = short_name(english)
        if not name or len(name.split()) > LONGEST_NAME or not name.isascii():
            continue
        chinese = [line.split("=", 1)[1] for line in others if line.startswith("zh_CN.utf8=")]
        folders = caption.relative_to(root).parts[:-1]
        yield Drawing(
            picture, name, chinese[0].strip(" 。.!！") if chinese else None, folders[0], folders[-1]
        )


def clip_art(package: Path) -> Iterator[Drawing]:
    """Open Clip Art by file name, without the author and the number that most names end with."""
    root = package / CLIP_ART
    for picture in sorted(root.rglob("*.png")):
        folders = picture.relative_to(root).parts[:-1]
        if not folders or _NAMELESS & set(folders):
            continue
        if name := _from_file_name(picture.stem):
            yield Drawing(picture, name, None, folders[0], folders[-1])


def short_name(caption: str) -> str:
    """ "An Adelaide Rosella." as "Adelaide Rosella": without article and last full stop."""
    return _ARTICLE.sub("", caption.strip().strip(".!…").strip())


def _from_file_name(stem: str) -> str:
    words = re.split(r"[_\-\s]+", stem)
    # an author's name stands between the title and the number, mostly cut off: "teapot_architetto_01"
    known = [word.lower() for word in words if word.isalpha() and len(word) > 2]
    if len(words) > 2 and words[-1].isdigit():
        known = known[: max(1, len(known) - 1)]
    return " ".join(known[:3])
