"""Render the packages' drawings into one folder with a table of names."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from llava_tuning.data.everyday.colour import main_colour
from llava_tuning.data.everyday.drawings import Drawing, clip_art, stamps
from llava_tuning.data.everyday.emoji import Emoji, fluent, fluent_solid, iconify, openmoji, read_emoji, tone
from llava_tuning.data.everyday.names import has_a_colour
from llava_tuning.data.everyday.table import EverydayPicture, Split, write_table
from llava_tuning.errors import UserError

TEST_STYLE = "noto"  # never trained on
TEST_SHARE = 5  # one of so many of Tux Paint's captions is held out
# Without colours a red apple is no other than a green one: what is named by its colour is left out.
ONE_TONE = ("fluent-high-contrast", "emojione-monotone", "symbola")
ICONIFY = ("twemoji", "emojione", "emojione-v1", "fxemoji", "streamline", "emojione-monotone")
NOTO_SIZE = 109  # pixels, the only one that the font's bitmaps have
GLYPH_SIZE = 200  # pixels, of drawings that are scaled afterwards
SIDE = 128
# Of a file that is not what its name says; packages have some.
UNREADABLE = (ValueError, OSError, Image.DecompressionBombError)


def build_everyday(
    packages: dict[str, Path],
    out: Path,
    side: int = SIDE,
    progress: Callable[[int, str], None] = lambda done, style: None,
) -> Path:
    """Write `pictures/STYLE/….webp`, RGBA on a transparent ground, and the table of them.

    Args:
        packages: key → unpacked folder, as `packages.fetch` returns them.
        out: folder to write to; pictures of this size that are there are kept, so that an interrupted
            build goes on.
        side: of the square pictures, in pixels.
        progress: called with the number of pictures so far and the style at work.

    Returns:
        the table's path.

    Raises:
        UserError: resvg-py, which renders SVG, is not installed.
    """
    emoji = read_emoji(packages["emojibase"])
    rows: list[EverydayPicture] = []
    for row, draw in _all(packages, emoji, side):
        path = out / row.file
        if not _is_there(path, side):
            try:
                found = _square(draw(), side)
            except UNREADABLE:
                found = None
            if found is None:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")  # so that an interrupted build leaves no half picture
            found.save(unfinished, "WEBP", quality=90, method=4)
            unfinished.replace(path)
        rows.append(replace(row, colour=main_colour(Image.open(path))))
        progress(len(rows), row.style)
    return write_table(out, rows)


def _is_there(path: Path, side: int) -> bool:
    """Whether a build before this one wrote the picture, in this size."""
    if not path.is_file():
        return False
    with Image.open(path) as picture:
        return picture.size == (side, side)


def _all(
    packages: dict[str, Path], emoji: list[Emoji], side: int
) -> Iterator[tuple[EverydayPicture, Callable[[], Image.Image]]]:
    """Each picture's row, its colour not yet known, and what draws it."""
    by_code = {one.code: one for one in emoji}
    styles = {
        "openmoji": openmoji(packages["openmoji"]),
        **{f"fluent-{s}": fluent(packages["fluent"], s, emoji) for s in ("modern", "flat", "high-contrast")},
        **{s: iconify(packages[s], emoji) for s in ICONIFY},
    }
    for style, drawings in styles.items():
        for code, svg in drawings:
            if code in by_code and not (style in ONE_TONE and has_a_colour(by_code[code].name)):
                yield _emoji_row(style, by_code[code], "train"), partial(render, svg, side)
    for code, path in fluent_solid(packages["fluent-3d"]):
        if code in by_code:
            yield _emoji_row("fluent-3d", by_code[code], "train"), partial(_open, path, side)
    for one, draw in symbola(packages["symbola"], emoji):
        yield _emoji_row("symbola", one, "train"), draw
    for one, draw in noto(packages["noto"], emoji):
        yield _emoji_row(TEST_STYLE, one, "test"), draw
    for style, drawn in (("tuxpaint", stamps), ("openclipart", clip_art)):
        for drawing in drawn(packages[style]):
            yield _drawing_row(style, drawing), partial(_open, drawing.path, side)


def render(svg: str, side: int) -> Image.Image:
    """An SVG as an RGBA picture of this width."""
    try:
        import resvg_py
    except ImportError:
        raise UserError("SVG is rendered by resvg-py, which is missing; run `pip install resvg-py`") from None
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side)))).convert("RGBA")


def noto(package: Path, emoji: list[Emoji]) -> Iterator[tuple[Emoji, Callable[[], Image.Image]]]:
    """Noto Color Emoji's bitmaps of those emoji that the font has."""
    path = next(package.rglob("NotoColorEmoji.ttf"))
    known = TTFont(path, lazy=True).getBestCmap()
    font = ImageFont.truetype(path, NOTO_SIZE)
    for one in emoji:
        if not all(ord(character) in known or character == "\u200d" for character in one.text):
            continue
        # Several glyphs: the font has no picture of the sequence.
        if font.getlength(one.text) > 1.5 * NOTO_SIZE:
            continue
        yield one, partial(_bitmap, font, one.text)


def _bitmap(font: ImageFont.FreeTypeFont, text: str) -> Image.Image:
    picture = Image.new("RGBA", (round(font.getlength(text)) + 8, 148), (0, 0, 0, 0))
    ImageDraw.Draw(picture).text((4, 4), text, font=font, embedded_color=True)
    return picture


def symbola(package: Path, emoji: list[Emoji]) -> Iterator[tuple[Emoji, Callable[[], Image.Image]]]:
    """Symbola's glyphs of those emoji that are one character, each in its tone."""
    path = next(package.rglob("Symbola*.ttf"))
    known = TTFont(path, lazy=True).getBestCmap()
    font = ImageFont.truetype(path, GLYPH_SIZE)
    for one in emoji:
        if len(one.text) == 1 and ord(one.text) in known and not has_a_colour(one.name):
            yield one, partial(_glyph, font, one.text, tone(one))


def _glyph(font: ImageFont.FreeTypeFont, text: str, colour: str) -> Image.Image:
    picture = Image.new("RGBA", (3 * GLYPH_SIZE, 3 * GLYPH_SIZE), (0, 0, 0, 0))
    ImageDraw.Draw(picture).text((GLYPH_SIZE, GLYPH_SIZE), text, colour, font)
    return picture


def _open(path: Path, side: int) -> Image.Image:
    if path.suffix == ".svg":
        return render(path.read_text(encoding="utf-8"), side)
    picture = Image.open(path)
    picture.draft("RGB", (2 * side, 2 * side))
    return picture.convert("RGBA")


def _square(picture: Image.Image, side: int) -> Image.Image | None:
    """Cut to what is drawn, scaled to fill the square but for a small rim; None where nothing is."""
    box = picture.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    most = side - 4
    scale = most / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _emoji_row(style: str, one: Emoji, split: Split) -> EverydayPicture:
    file = f"pictures/{style}/{one.code}.webp"
    return EverydayPicture(file, style, one.name, one.name_zh, one.group, one.subgroup, None, split)


def _drawing_row(style: str, drawing: Drawing) -> EverydayPicture:
    name = hashlib.sha256(str(drawing.path.relative_to(drawing.path.parents[2])).encode()).hexdigest()[:10]
    file = f"pictures/{style}/{drawing.path.stem}-{name}.webp"
    split: Split = "test" if style == "tuxpaint" and _held_out(drawing.name) else "train"
    return EverydayPicture(
        file, style, drawing.name, drawing.name_zh, drawing.group, drawing.subgroup, None, split
    )


def _held_out(caption: str) -> bool:
    """By caption, so that two pictures of a thing are never on both sides."""
    return int(hashlib.sha256(caption.lower().encode()).hexdigest(), 16) % TEST_SHARE == 0
