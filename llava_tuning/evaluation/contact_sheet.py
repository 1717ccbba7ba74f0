"""A picture of pictures: test pictures with the question, the model's answer and the right one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from llava_tuning.evaluation.easy_vqa import TYPES, AnsweredQuestion, EasyVqaReport
from llava_tuning.models.pictures import open_picture

# All lengths in pixels.
_PICTURE, _PADDING, _GAP, _RADIUS = 288, 20, 24, 14
_CARD_WIDTH = _PICTURE + 2 * _PADDING
_QUESTION_LINES, _ANSWER_LINES = 2, 3
_LINE = 27
_CARD_HEIGHT = _PICTURE + 3 * _PADDING + (_QUESTION_LINES + _ANSWER_LINES) * _LINE
_HEADER = 72

_PAGE, _CARD, _BORDER = "#eef0f3", "#ffffff", "#d9dde3"
_TEXT, _MUTED, _RIGHT, _WRONG = "#1d2129", "#5b6472", "#157f3b", "#c3261d"


def sheet_rows(report: EasyVqaReport, count: int = 12) -> list[AnsweredQuestion]:
    """A random choice of a report's rows, as many of each question type, each of another picture.

    Right and wrong answers come as often as chance has it: the sheet is a sample, not a showcase.
    """
    shuffled = list(report.rows)
    random.Random(report.seed).shuffle(shuffled)
    by_type = {kind: [row for row in shuffled if row.question.type == kind] for kind in TYPES}
    chosen: list[AnsweredQuestion] = []
    seen: set[Path] = set()
    while len(chosen) < count and any(by_type.values()):
        for rows in by_type.values():
            while rows:
                row = rows.pop()
                if row.question.image_path not in seen:
                    chosen.append(row)
                    seen.add(row.question.image_path)
                    break
    return chosen[:count]


def contact_sheet(
    rows: Sequence[AnsweredQuestion], path: str | Path, *, columns: int = 4, title: str | None = None
) -> None:
    """Draw `rows` as a grid of cards and save it as PNG at `path`.

    Args:
        title: the line above the grid; by default it counts the right answers shown.

    Raises:
        UserError: a row's picture cannot be read.
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    columns = min(columns, len(rows))
    lines = -(-len(rows) // columns)
    width = columns * (_CARD_WIDTH + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _HEADER + lines * (_CARD_HEIGHT + _GAP)), _PAGE)
    draw = ImageDraw.Draw(sheet)
    if title is None:
        title = f"{sum(row.right for row in rows)} of {len(rows)} answers right"
    draw.text((_GAP, _HEADER // 2), _fit(title, 26, width - 2 * _GAP)[0], _TEXT, _font(26), anchor="lm")
    for number, row in enumerate(rows):
        left = _GAP + number % columns * (_CARD_WIDTH + _GAP)
        top = _HEADER + number // columns * (_CARD_HEIGHT + _GAP)
        _draw_card(sheet, draw, row, left, top)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)


def _draw_card(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, row: AnsweredQuestion, left: int, top: int
) -> None:
    box = (left, top, left + _CARD_WIDTH, top + _CARD_HEIGHT)
    draw.rounded_rectangle(box, _RADIUS, fill=_CARD, outline=_BORDER, width=2)
    picture = open_picture(row.question.image_path)
    scale = _PICTURE / max(picture.size)
    picture = picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
    )
    x, y = left + _PADDING, top + _PADDING
    sheet.paste(picture, (x + (_PICTURE - picture.width) // 2, y + (_PICTURE - picture.height) // 2))
    y += _PICTURE + _PADDING
    for line in _fit(row.question.text, 20, _PICTURE)[:_QUESTION_LINES]:
        draw.text((x, y), line, _MUTED, _font(20))
        y += _LINE
    y = top + _PICTURE + 2 * _PADDING + _QUESTION_LINES * _LINE + 4
    colour = _RIGHT if row.right else _WRONG
    _draw_mark(draw, x, y + 3, row.right, colour)
    # A wrong answer needs a line for the right one.
    answer_lines = _ANSWER_LINES if row.right else _ANSWER_LINES - 1
    for line in _fit(row.answer or "(no answer)", 23, _PICTURE - 32)[:answer_lines]:
        draw.text((x + 32, y), line, colour, _font(23))
        y += _LINE
    if not row.right:
        draw.text((x + 32, y + 4), f"right: {row.question.answer}", _MUTED, _font(19))


def _draw_mark(draw: ImageDraw.ImageDraw, x: int, y: int, right: bool, colour: str) -> None:
    """A tick or a cross of 20 pixels, drawn, because fonts may lack them."""
    if right:
        draw.line([(x, y + 11), (x + 7, y + 18), (x + 20, y + 2)], fill=colour, width=4, joint="curve")
    else:
        draw.line([(x + 2, y + 2), (x + 18, y + 18)], fill=colour, width=4)
        draw.line([(x + 18, y + 2), (x + 2, y + 18)], fill=colour, width=4)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that the sheet looks the same everywhere."""
    return ImageFont.load_default(size)


def _fit(text: str, size: int, width: int) -> list[str]:
    """Wrap `text` at words to `width` pixels; a word that is too long by itself is cut."""
    font = _font(size)
    lines = [""]
    for word in text.split():
        while font.getlength(word) > width:
            word = word[:-2] + "…"
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
