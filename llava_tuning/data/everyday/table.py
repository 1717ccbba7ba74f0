"""The table of everyday pictures: what each shows, in which style it is drawn, what it may be used for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Literal

from llava_tuning.errors import UserError

TABLE = "everyday.jsonl"
Split = Literal["train", "test"]
COLOURS = ("black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")


@dataclass(frozen=True)
class EverydayPicture:
    """A drawing or emoji on a transparent ground, with the names of what it shows.

    `group` and `subgroup` are Unicode's for emoji ("food-drink", "food-fruit"), else folders. `colour` is
    the one of COLOURS that most of it has, None where none clearly prevails.
    """

    file: str  # relative to the folder of the table
    style: str  # who drew it: "openmoji", "twemoji", "noto", "tuxpaint", ...
    name: str
    name_zh: str | None
    group: str
    subgroup: str
    colour: str | None
    split: Split


def read_table(folder: Path) -> list[EverydayPicture]:
    """The pictures of a folder that `llava-tuning data everyday` wrote.

    Raises:
        UserError: there is no such table, or a line of it cannot be read.
    """
    path = folder / TABLE
    if not path.is_file():
        raise UserError(
            f"{path}: no such table; write it by `llava-tuning data everyday --out {quote(str(folder))}`"
        )
    pictures = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            pictures.append(EverydayPicture(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}, line {number}: {error}; write the table again") from None
    return pictures


def check_style(folder: Path, table: Iterable[EverydayPicture], style: str) -> None:
    """Raises a UserError where no picture of a folder's table is drawn in this style."""
    styles = sorted({picture.style for picture in table})
    if style not in styles:
        raise UserError(f"{folder} has no style {style!r}; choose one of {', '.join(styles)}")


def write_table(folder: Path, pictures: Iterable[EverydayPicture]) -> Path:
    """Write the table of a folder's pictures; returns its path."""
    path = folder / TABLE
    unfinished = path.with_name(f"{TABLE}.part")  # so that an interrupted run leaves no half table
    with unfinished.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(picture), ensure_ascii=False) + "\n" for picture in pictures)
    unfinished.replace(path)
    return path
