"""What checkpoints are asked: held-out identity, contrast and general conversations."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from llava_tuning.data.identity.phrasebook import mentions, plain_wording
from llava_tuning.data.load import load_records, record_label
from llava_tuning.data.records import Record, read_json_rows
from llava_tuning.data.structure import row_problems
from llava_tuning.errors import UserError
from llava_tuning.models.conversation import Message

GENERAL = Path(__file__).resolve().parents[3] / "assets" / "demo" / "general_held_out.jsonl"
FILES = {"identity": "held_out_identity.jsonl", "contrast": "held_out_contrast.jsonl"}
Part = Literal["identity", "contrast", "general"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Question:
    """One held-out conversation.

    Attributes:
        asked: the turns up to the question to answer.
        whole: these and the answers whose likelihood is measured; empty where none is.
        must, must_not: a right answer mentions each of the first and none of the second.
    """

    id: str
    part: Part
    asked: tuple[Message, ...]
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    whole: tuple[Message, ...] = ()

    def is_right(self, answer: str) -> bool:
        """Whether an answer mentions what it must, and nothing that it must not."""
        return all(mentions(answer, text) for text in self.must) and not any(
            mentions(answer, text) for text in self.must_not
        )

    @property
    def fingerprint(self) -> str:
        """Changes with the content; the id counts too."""
        content = json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_questions(data: Path, folder: Path | None = None, general: Path | None = None) -> list[Question]:
    """All held-out questions of a run.

    Args:
        data: what the run trains on; none of its questions may be held out.
        folder: holds what `data identity` wrote; that of `data` when None.
        general: held-out general conversations (LLaVA records); those of the project when None.

    Raises:
        UserError: a file is missing or not of its kind, or a held-out question is trained on.
    """
    folder, general = folder or data.parent, general or GENERAL
    found: list[Question] = []
    for part in ("identity", "contrast"):
        path = folder / FILES[part]
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; name the folder that `llava-tuning data identity` wrote to "
                "(select: --held-out, train: --set held_out=FOLDER)"
            )
        found += [_held_out(path, part, index, row) for index, row in read_json_rows(path)]
    names = tuple(sorted({text for q in found if q.part == "contrast" for text in q.must_not}))
    found += [_general(general, record, names) for record in load_records(general)]
    _check_held_out(found, data)
    return found


def sample_questions(questions: Sequence[Question], number: int, seed: int = 0) -> list[Question]:
    """At most `number` questions of each part, always the same ones."""
    found: list[Question] = []
    for part in PARTS:
        of_part = [question for question in questions if question.part == part]
        found += random.Random(f"{seed} {part}").sample(of_part, min(number, len(of_part)))
    return found


def _held_out(path: Path, part: Part, index: int, row: Any) -> Question:
    label = f"{path}: {record_label(index, row)}"
    remedy = "let `llava-tuning data identity` write the file again"
    try:
        record = Record.model_validate({**row, "image": None})
        must, must_not = (tuple(_texts(row[key])) for key in ("must_contain", "must_not_contain"))
    except (TypeError, ValueError, KeyError):
        raise UserError(f"{label} lacks conversations, must_contain or must_not_contain; {remedy}") from None
    if not record.conversations or record.conversations[-1].from_ != "human":
        raise UserError(f"{label} does not end with a question; {remedy}")
    return Question(record.id, part, tuple(record.messages()), must, must_not)


def _texts(value: Any) -> list[str]:
    """A list of texts; a text alone would be taken for its letters."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError
    return value


def _general(path: Path, record: Record, names: tuple[str, ...]) -> Question:
    whole = tuple(record.messages())
    if row_problems(record.to_dict()) or record.image is not None or whole[-1].role != "assistant":
        raise UserError(
            f"{path}: record {record.id!r} is no conversation in text that ends with an answer; remove it"
        )
    if named := [name for name in names for turn in whole if mentions(turn.text, name)]:
        raise UserError(
            f"{path}: record {record.id!r} mentions {named[0]!r}, so it cannot show whether the model says "
            "that out of place; remove it"
        )
    return Question(record.id, "general", whole[:-1], (), names, whole)


def _check_held_out(questions: Iterable[Question], data: Path) -> None:
    trained = {
        plain_wording(turn.value): record.id
        for record in load_records(data)
        for turn in record.conversations
        if turn.from_ == "human"
    }
    for question in questions:
        if (record_id := trained.get(plain_wording(question.asked[-1].text))) is not None:
            raise UserError(
                f"{data}: record {record_id!r} asks {question.asked[-1].text!r}, which {question.id!r} holds "
                "out to score checkpoints by; take it out of one of them"
            )
