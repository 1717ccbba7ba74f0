"""A picture of pictures: test pictures with the question, the model's answer and the right one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageDraw, ImageFont

from llava_tuning.evaluation.easy_vqa import TYPES, AnsweredQuestion, EasyVqaReport

# All lengths in pixels.
_PICTURE, _PADDING, _GAP, _RADIUS = 288, 20, 24, 14
_CARD_WIDTH = _PICTURE + 2 * _PADDING
_QUESTION_SIZE, _ANSWER_SIZE, _NOTE_SIZE, _LINE = 20, 23, 19, 27
_INDENT = 32  # of the answer, behind its mark
_MOST_LINES = 3  # of a question or an answer
_HEADER = 72

_PAGE, _CARD, _BORDER = "#eef0f3", "#ffffff", "#d9dde3"
_TEXT, _MUTED, _RIGHT, _WRONG = "#1d2129", "#5b6472", "#157f3b", "#c3261d"


class Answered(Protocol):
    """What a card shows: a question about a picture, a model's answer and the right one."""

    @property
    def text(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def right_answer(self) -> str: ...
    @property
    def right(self) -> bool: ...
    def load(self) -> Image.Image:
        """The picture.

        Raises:
            UserError: it cannot be read.
        """
        ...


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
    rows: Sequence[Answered], path: str | Path, *, columns: int = 4, title: str | None = None
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
    lines = [rows[i : i + columns] for i in range(0, len(rows), columns)]
    heights = [max(_card_height(row) for row in line) for line in lines]
    width = columns * (_CARD_WIDTH + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _HEADER + sum(heights) + len(lines) * _GAP), _PAGE)
    draw = ImageDraw.Draw(sheet)
    if title is None:
        title = f"{sum(row.right for row in rows)} of {len(rows)} answers right"
    draw.text((_GAP, _HEADER // 2), _wrap(title, 26, width - 2 * _GAP)[0], _TEXT, _font(26), anchor="lm")
    top = _HEADER
    for line, height in zip(lines, heights, strict=True):
        for column, row in enumerate(line):
            _draw_card(sheet, draw, row, _GAP + column * (_CARD_WIDTH + _GAP), top, height)
        top += height + _GAP
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)


def _question_lines(row: Answered) -> list[str]:
    return _wrap(row.text, _QUESTION_SIZE, _PICTURE)


def _answer_lines(row: Answered) -> list[str]:
    return _wrap(row.answer or "(no answer)", _ANSWER_SIZE, _PICTURE - _INDENT)


def _note_lines(row: Answered) -> list[str]:
    """The right answer, below a wrong one."""
    return [] if row.right else _wrap(f"right: {row.right_answer}", _NOTE_SIZE, _PICTURE - _INDENT)


def _card_height(row: Answered) -> int:
    lines = len(_question_lines(row)) + len(_answer_lines(row)) + len(_note_lines(row))
    return _PICTURE + 3 * _PADDING + lines * _LINE + 8


def _draw_card(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Answered, left: int, top: int, height: int
) -> None:
    box = (left, top, left + _CARD_WIDTH, top + height)
    draw.rounded_rectangle(box, _RADIUS, fill=_CARD, outline=_BORDER, width=2)
    picture = row.load()
    scale = _PICTURE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    x, y = left + _PADDING, top + _PADDING
    sheet.paste(picture, (x + (_PICTURE - picture.width) // 2, y + (_PICTURE - picture.height) // 2))
    y += _PICTURE + _PADDING
    for line in _question_lines(row):
        draw.text((x, y), line, _MUTED, _font(_QUESTION_SIZE))
        y += _LINE
    y += 8
    colour = _RIGHT if row.right else _WRONG
    _draw_mark(draw, x, y + 3, row.right, colour)
    for line in _answer_lines(row):
        draw.text((x + _INDENT, y), line, colour, _font(_ANSWER_SIZE))
        y += _LINE
    for line in _note_lines(row):
        draw.text((x + _INDENT, y + 2), line, _MUTED, _font(_NOTE_SIZE))
        y += _LINE


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


def _wrap(text: str, size: int, width: int) -> list[str]:
    """`text` broken at words to lines of `width` pixels; what is beyond the last line is left out."""
    font = _font(size)
    lines = [""]
    for word in text.split():
        while font.getlength(word) > width:
            word = word[:-2] + "…"
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        elif len(lines) == _MOST_LINES:
            lines[-1] += " …"
            break
        else:
            lines.append(word)
    return lines
