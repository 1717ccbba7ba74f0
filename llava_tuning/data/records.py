"""The dataset contract: LLaVA records in a JSON or JSONL file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llava_tuning.errors import UserError
from llava_tuning.models.conversation import IMAGE_MARKER, Message


class Turn(BaseModel):
    """One turn of a record. `<image>` in a human turn marks where the record's picture belongs."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")
    from_: Literal["system", "human", "gpt"] = Field(alias="from")
    value: str


class Record(BaseModel):
    """One training example: an id, at most one picture (relative to the image folder), and its turns.

    A whole number as id, as published sets have it, is read as text. `like_base`: an adapter learns these
    answers by the probabilities that the language model gives them without it, instead of by their tokens, so
    that the model goes on answering as it did (`training.loss.linear_divergence`). Only without a picture.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)
    id: str
    image: str | None = None
    conversations: list[Turn]
    like_base: bool = False

    def messages(self) -> list[Message]:
        """The turns as messages; each picture marker becomes a picture in front of its turn's text."""
        roles: dict[str, Any] = {"system": "system", "human": "user", "gpt": "assistant"}
        out = []
        for turn in self.conversations:
            images = turn.value.count(IMAGE_MARKER) if turn.from_ == "human" and self.image else 0
            text = turn.value.replace(IMAGE_MARKER, "").strip() if images else turn.value.strip()
            out.append(Message(roles[turn.from_], text, images))
        return out

    def to_dict(self) -> dict[str, Any]:
        """The record as it is written to a file. The `image` key is always there (XTuner needs it)."""
        turns = [{"from": t.from_, "value": t.value} for t in self.conversations]
        row: dict[str, Any] = {"id": self.id, "image": self.image, "conversations": turns}
        return row | {"like_base": True} if self.like_base else row


def make_record(
    record_id: str, image: str | None, turns: Iterable[tuple[str, str]], system: str | None = None
) -> Record:
    """A record from (question, answer) pairs; the picture marker goes in front of the first question."""
    conversation = [Turn.model_validate({"from": "system", "value": system})] if system else []
    for number, (question, answer) in enumerate(turns):
        marker = f"{IMAGE_MARKER}\n" if image and not number else ""
        conversation.append(Turn.model_validate({"from": "human", "value": marker + question}))
        conversation.append(Turn.model_validate({"from": "gpt", "value": answer}))
    return Record(id=record_id, image=image, conversations=conversation)


@dataclass(frozen=True)
class BrokenRow:
    """A line of a JSONL file that is not JSON."""

    line: int  # 1-based
    message: str


def read_json_rows(path: str | Path) -> Iterator[tuple[int, Any]]:
    """(index, parsed value) of a JSON list or a JSONL file; the index is 0-based.

    Raises:
        UserError: the file is missing, not JSON or JSONL, or holds no rows.
    """
    for index, row in read_rows_leniently(path):
        if isinstance(row, BrokenRow):
            raise UserError(
                f"{path}: line {row.line} is not valid JSON ({row.message}); mend or remove the line"
            )
        yield index, row


def read_rows_leniently(path: str | Path) -> list[tuple[int, Any]]:
    """As `read_json_rows`, but a JSONL line that cannot be parsed becomes a BrokenRow.

    Raises:
        UserError: the file is missing, not text, a broken JSON list, or holds no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such data file; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    try:
        # A JSON list, or one object over several lines, which is a set of one record.
        whole = json.loads(text)
        rows = whole if isinstance(whole, list) else [whole]
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("["):
            where = f"line {error.lineno}, column {error.colno}"
            raise UserError(f"{path}: not valid JSON at {where} ({error.msg}); mend the file there") from None
        # Only "\n" ends a JSON line: splitlines() would cut at U+2028 inside a string as well.
        lines = enumerate(text.split("\n"), 1)
        rows = [_parse_line(line, number) for number, line in lines if line.strip()]
    if not rows:
        raise UserError(f"{path}: holds no records; give a JSON list or one JSON object a line")
    return list(enumerate(rows))


def _parse_line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return BrokenRow(number, error.msg)


def write_json(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as a JSON list (or JSON lines where the name ends in .jsonl); returns how many."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [record.to_dict() for record in records]
    unfinished = path.with_name(f"{path.name}.part")  # so that an interrupted run leaves no half file
    with unfinished.open("w", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            json.dump(rows, file, ensure_ascii=False, indent=1)
    unfinished.replace(path)
    return len(rows)
