"""What a teacher is asked: the rows of a file, or the pictures of a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tuning.data.load import record_label
from llava_tuning.data.records import Record, Turn, make_record, read_json_rows
from llava_tuning.distillation.templates import Template
from llava_tuning.errors import UserError
from llava_tuning.inference.questions import questions_from_folder
from llava_tuning.models.conversation import IMAGE_MARKER


@dataclass(frozen=True)
class TeacherQuestion:
    """One request to the teacher. `image` is as the user wrote it, `path` is where the file lies.

    `text` is empty where the template brings the questions.
    """

    id: str
    text: str
    image: str | None = None
    path: Path | None = None
    system: str | None = None

    def __str__(self) -> str:
        """As it is named in messages."""
        about = [f"picture {self.image}"] if self.image else []
        about += [repr(self.text if len(self.text) <= 60 else f"{self.text[:60]}…")] if self.text else []
        return f"{self.id} ({', '.join(about)})"

    def record(self, turns: Iterable[tuple[str, str]]) -> Record:
        """The record of (question, answer) pairs; what the teacher was told beforehand is its system turn."""
        record = make_record(self.id, self.image, turns)
        if self.system:
            record.conversations.insert(0, Turn.model_validate({"from": "system", "value": self.system}))
        return record

    def fits(self, record: Record) -> bool:
        """Whether a record can be the answer to this: picture, system turn and first question agree."""

        def asked(record: Record) -> tuple[str | None, list[str], list[str]]:
            system = [turn.value for turn in record.conversations if turn.from_ == "system"]
            human = [turn.value for turn in record.conversations if turn.from_ == "human"]
            return record.image, system, human[:1] if self.text else []

        return asked(record) == asked(self.record([(self.text, "")]))


def from_folder(
    folder: Path, template: Template, questions: Sequence[str] = (), system: str | None = None
) -> list[TeacherQuestion]:
    """Each question about every picture under `folder`; with a template that asks itself, every picture once.

    Raises:
        UserError: no such folder, no picture in it, or questions that do not go with the template.
    """
    if template.asks_itself and questions:
        raise UserError(f"the template {template.name} brings its own questions; leave --question out")
    if not template.asks_itself and not questions:
        raise UserError("nothing is asked about the pictures; add --question or --template five-questions")
    for text in questions:
        if not text.strip() or IMAGE_MARKER in text:
            raise UserError(f"--question {text!r}: write a text without {IMAGE_MARKER}, which is added")
    rows = questions_from_folder(folder, [text.strip() for text in questions] or [""])
    return _distinct(
        [_question(None, row.question, row.image, row.path, system) for row in rows], str(folder)
    )


def from_file(
    file: Path, template: Template, images: Path | None = None, system: str | None = None
) -> list[TeacherQuestion]:
    """The rows of a JSON or JSONL file: `question`, and if you like `image`, `system` and `id`.

    With a template that asks itself, `image` alone.

    Args:
        images: the folder that pictures are relative to; default: the file's own.
        system: told to the teacher where a row has no `system` of its own.

    Raises:
        UserError: the file or folder cannot be read, or names the first bad row and how to mend it.
    """
    if images is not None and not images.is_dir():
        raise UserError(f"{images}: no such picture folder; give --images an existing one")
    folder = images or file.parent
    rows = []
    for index, row in read_json_rows(file):
        where = f"{file}: {record_label(index, row)}"
        values = _fields(row, where)
        _check(values, template, where)
        image = values["image"]
        path = folder / image if image else None
        rows.append(
            _question(values["id"], values["question"] or "", image, path, values["system"] or system)
        )
    return _distinct(rows, str(file))


def _fields(row: Any, where: str) -> dict[str, str | None]:
    if not isinstance(row, Mapping):
        raise UserError(f"{where} is not an object; write question and, if you like, image, system and id")
    values: dict[str, str | None] = {}
    for field in ("id", "question", "image", "system"):
        value = row.get(field)
        if field == "id" and type(value) is int:
            value = str(value)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{where} has a {field} that is not text; write it as a text or leave it out")
        values[field] = (value or "").strip() or None
    return values


def _check(values: Mapping[str, str | None], template: Template, where: str) -> None:
    question, image = values["question"], values["image"]
    if template.asks_itself and (question or not image):
        raise UserError(f"{where}: {template.name} takes rows with an image and without a question; mend it")
    if not template.asks_itself and not question:
        raise UserError(f"{where} has no question; write one, or choose --template five-questions")
    if any(IMAGE_MARKER in (values[field] or "") for field in ("question", "system")):
        raise UserError(f"{where} holds {IMAGE_MARKER}; remove it and name the picture in `image`")
    if image and ("://" in image or image.startswith("data:")):
        raise UserError(f"{where} names {image[:60]} as picture; save it and give the file's path")
    try:
        "".join(value or "" for value in values.values()).encode()
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half a surrogate pair; write the character itself") from None


def _question(
    given: str | None, text: str, image: str | None, path: Path | None, system: str | None
) -> TeacherQuestion:
    content = json.dumps([image, text, system]).encode()
    return TeacherQuestion(given or hashlib.sha256(content).hexdigest()[:12], text, image, path, system)


def _distinct(questions: Iterable[TeacherQuestion], source: str) -> list[TeacherQuestion]:
    by_id: dict[str, TeacherQuestion] = {}
    for question in questions:
        if by_id.setdefault(question.id, question) != question:
            raise UserError(f"{source}: two different rows have the id {question.id!r}; give each its own")
    return list(by_id.values())
