"""The questions of a batch run: read from a file, or asked about every picture of a folder."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tuning.data.records import read_json_rows
from llava_tuning.errors import UserError

DESCRIBE = "Describe this picture."
# Those that cannot be read become rows with an error, so that none is missed.
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".svg"}
)


@dataclass(frozen=True)
class QuestionRow:
    """A row of a question file. `image` is a name as the user wrote it; empty for a question in text."""

    id: str
    image: str
    question: str


@dataclass(frozen=True)
class PictureQuestion:
    """One question about one picture. `image` is as the user wrote it, `path` is where the file lies."""

    id: str
    image: str
    question: str
    path: Path

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells a row apart from every other, in this run and the next."""
        return (self.id, self.image, self.question)


def questions_from_folder(folder: Path, questions: Sequence[str] = ()) -> list[PictureQuestion]:
    """Each question (default: describe it) about every picture under `folder`, in the order of their names.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such picture folder; give --images an existing one")
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and (file.is_file() or file.is_symlink())
    )
    if not files:
        raise UserError(f"{folder}: holds no pictures ({', '.join(sorted(SUFFIXES))}); choose another folder")
    pairs = [(file, question) for file in files for question in (questions or (DESCRIBE,))]
    rows = [(str(file.relative_to(folder).as_posix()), question, file) for file, question in pairs]
    return _distinct(PictureQuestion(_row_id(image, q), image, q, file) for image, q, file in rows)


def questions_from_file(file: Path, images: Path | None = None) -> list[PictureQuestion]:
    """The rows of a JSONL, JSON or CSV file with the fields `image`, `question` and, if you like, `id`.

    Args:
        images: the folder that pictures are relative to; default: the file's own.

    Raises:
        UserError: the file or folder is missing or unreadable, or a row lacks a field; names the row.
    """
    if images is not None and not images.is_dir():
        raise UserError(f"{images}: no such picture folder; give --images an existing one")
    folder = images or file.parent
    rows = read_question_file(file)
    return _distinct(PictureQuestion(row.id, row.image, row.question, folder / row.image) for row in rows)


def read_question_file(file: Path, fields: Sequence[str] = ("image", "question")) -> list[QuestionRow]:
    """The rows of a JSONL, JSON or CSV file.

    Args:
        fields: what every row must have of `image` and `question`; `image` and `id` may stand there anyway.

    Raises:
        UserError: the file is missing or unreadable, or a row lacks a field; names the row.
    """
    rows = _csv_rows(file, fields) if file.suffix.lower() == ".csv" else read_json_rows(file)
    return [_question(row, f"{file}: row {index + 1}", fields) for index, row in rows]


def _csv_rows(file: Path, fields: Sequence[str]) -> list[tuple[int, Mapping[str, Any]]]:
    if not file.is_file():
        raise UserError(f"{file}: no such question file")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            names = reader.fieldnames or []
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not a CSV file in UTF-8 ({error}); save it again as such") from None
    if names and not set(fields) <= set(names):
        raise UserError(
            f"{file}: its first line is {','.join(names)!r}; let it name "
            f"{_named(fields)}, separated by commas"
        )
    if not rows:
        raise UserError(f"{file}: holds no rows; the first line names {_named(fields)}")
    return list(enumerate(rows))


def _question(row: Any, where: str, fields: Sequence[str]) -> QuestionRow:
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: not an object with {_named(fields)}")
    values = {"image": "", "question": ""}
    for field in values:
        value = row.get(field)
        if isinstance(value, str) and value.strip():
            values[field] = value.strip()
        elif value is not None and not isinstance(value, str):
            raise UserError(f"{where}: the field {field!r} is {value!r}, not text; put it in quotes")
        elif field in fields:
            needs = " and ".join("an image" if name == "image" else "a question" for name in fields)
            raise UserError(f"{where}: the field {field!r} is missing or empty; give every row {needs}")
        if any("\ud800" <= letter <= "\udfff" for letter in values[field]):
            raise UserError(f"{where}: half a character (a lone surrogate) in {field!r}; write whole Unicode")
    given = row.get("id")
    row_id = str(given) if given not in (None, "") else _row_id(values["image"], values["question"])
    return QuestionRow(row_id, values["image"], values["question"])


def _named(fields: Sequence[str]) -> str:
    return f"the field{'s' if len(fields) > 1 else ''} {' and '.join(fields)}"


def _row_id(image: str, question: str) -> str:
    return hashlib.sha256(json.dumps([image, question]).encode()).hexdigest()[:12]


def _distinct(questions: Iterable[PictureQuestion]) -> list[PictureQuestion]:
    """The same row twice is asked once."""
    return list({question.key: question for question in questions}.values())
