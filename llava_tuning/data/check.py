"""Find everything that is wrong with a data file before any training does."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tuning.data.load import record_label
from llava_tuning.data.records import BrokenRow, Record, read_rows_leniently
from llava_tuning.data.structure import Problem, row_problems
from llava_tuning.errors import UserError
from llava_tuning.models.conversation import IGNORE_INDEX, Message, render_conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Stands for a picture while positions are counted; no tokenizer has it.
_PICTURE_ID = -200


@dataclass(frozen=True)
class Finding:
    """One fault of one record; `kind` is record, turns, marker, picture, tokens or duplicate."""

    file: Path
    index: int  # 0-based position in the file
    record_id: str | None
    kind: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        name = record_label(self.index, {"id": self.record_id})
        return f"{self.file}: {name} {self.problem}; {self.remedy}"


@contextmanager
def _collector_off() -> Iterator[None]:
    """Looking for cycles among so many records takes half of the time, and there are none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_collector_off()
def check_file(
    path: str | Path,
    image_folder: str | Path | None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    tokens_per_image: int = 0,
    max_pictures: int | None = None,
    text_only: bool = False,
) -> tuple[list[Finding], int]:
    """All faults of a data file, in the order of its records, and the number of its records.

    Args:
        path: JSON or JSONL file of LLaVA records.
        image_folder: pictures' paths are relative to it; None means the data file's own folder.
        tokenizer: with `max_length`, finds records with nothing to learn from after truncation.
        max_length: tokens kept in training, picture positions included.
        tokens_per_image: positions that one picture takes.
        max_pictures: decode only so many pictures, evenly spread over the file; that each file exists is
            checked in any case. None decodes all.
        text_only: the records are for a language model alone, so a picture is a fault.

    Raises:
        UserError: the file cannot be read at all, or the image folder is missing.
    """
    path = Path(path)
    folder = path.parent if image_folder is None else Path(image_folder)
    rows = read_rows_leniently(path)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such image folder; give the folder that pictures' paths start from")
    found: list[tuple[int, Problem]] = []
    good: list[tuple[int, Record]] = []
    for index, row in rows:
        problems = _broken(row) if isinstance(row, BrokenRow) else row_problems(row)
        found += [(index, problem) for problem in problems]
        if not problems:
            good.append((index, Record.model_validate(row)))
    if text_only:
        found += _pictures_in_text(good)
    else:
        found += _missing_key(rows)
        found += _picture_problems(rows, folder, max_pictures)
    found += _duplicates(good)
    if tokenizer is not None and max_length is not None:
        layout = _layout_tokens(tokenizer)
        for index, record in good:
            if _upper_bound(record, layout, tokens_per_image) >= max_length:
                problems = _token_problems(record, tokenizer, max_length, tokens_per_image)
                found += [(index, problem) for problem in problems]
    found.sort(key=lambda item: item[0])
    values = dict(rows)
    findings = [
        Finding(path, index, _id_of(values[index]), problem.kind, problem.text, problem.remedy)
        for index, problem in found
    ]
    return findings, len(rows)


def _broken(row: BrokenRow) -> list[Problem]:
    text = f"on line {row.line} is not valid JSON ({row.message})"
    return [Problem("record", text, "mend or remove the line")]


def _missing_key(rows: Sequence[tuple[int, Any]]) -> list[tuple[int, Problem]]:
    """The first record without the key `image` makes XTuner's own dataset drop all pictures of the file."""
    first = rows[0][1]
    others = any(isinstance(row, dict) and row.get("image") for _, row in rows)
    if not (isinstance(first, dict) and "image" not in first and others):
        return []
    text = "comes first and has no key `image`, so XTuner itself would train without any picture of the file"
    return [(rows[0][0], Problem("record", text, 'add "image": null'))]


def _pictures_in_text(records: Sequence[tuple[int, Record]]) -> list[tuple[int, Problem]]:
    return [
        (
            index,
            Problem(
                "picture",
                f"has a picture ({record.image}), and the model to be trained takes none",
                "leave the record out, or train with a LLaVA config",
            ),
        )
        for index, record in records
        if record.image
    ]


def _picture_problems(
    rows: Sequence[tuple[int, Any]], folder: Path, max_pictures: int | None
) -> list[tuple[int, Problem]]:
    uses: dict[str, list[int]] = {}
    for index, row in rows:
        image = row.get("image") if isinstance(row, dict) else None
        if isinstance(image, str) and image.strip():
            uses.setdefault(image, []).append(index)
    problems = {image: problem for image in uses if (problem := _missing_picture(folder, image))}
    present = [image for image in uses if image not in problems]
    if max_pictures is not None:
        step = max(1, -(-len(present) // max(1, max_pictures)))
        present = present[::step][:max_pictures]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda image: _bad_picture(folder / image), present)
        problems |= {image: problem for image, problem in zip(present, results, strict=True) if problem}
    return [(index, problem) for image, problem in problems.items() for index in uses[image]]


def _missing_picture(folder: Path, image: str) -> Problem | None:
    if "://" in image or image.startswith("data:"):
        text = f"names the address {image[:60]} as picture"
        return Problem("picture", text, "download it and give a path relative to the image folder")
    try:
        found = (folder / image).is_file()
    except (OSError, ValueError):  # a name that is too long or holds a zero byte
        found = False
    if found:
        return None
    shown = image if len(image) < 200 else f"{image[:200]}…"
    return Problem(
        "picture", f"names {folder / shown}, which does not exist", "mend the path or the image folder"
    )


def _bad_picture(file: Path) -> Problem | None:
    from llava_tuning.models.pictures import open_picture

    try:
        open_picture(file)
    except UserError as error:
        text, _, remedy = str(error).partition("; ")
        return Problem("picture", f"has a bad picture, {text}", remedy or "replace the file")
    return None


def _duplicates(records: Sequence[tuple[int, Record]]) -> list[tuple[int, Problem]]:
    found = []
    ids: dict[str, int] = {}
    contents: dict[tuple[object, ...], int] = {}
    for index, record in records:
        first = ids.setdefault(record.id, index)
        if first != index:
            text = f"has the same id as record {first}"
            found.append((index, Problem("duplicate", text, "give each record an id of its own")))
        body = (record.image, *((turn.from_, turn.value) for turn in record.conversations))
        first = contents.setdefault(body, index)
        if first != index:
            text = f"has the same picture and turns as record {first}"
            found.append((index, Problem("duplicate", text, "remove one of them")))
    return found


def _layout_tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that the template writes around a question and its answer, a default system turn included."""
    return len(render_conversation(tokenizer, [Message("user", ""), Message("assistant", "")]).input_ids)


def _upper_bound(record: Record, layout: int, tokens_per_image: int) -> int:
    """At least the tokens before the first answer. No token stands for less than a byte, so most records are
    seen to fit without the tokenizer, which takes minutes for hundreds of thousands of them."""
    total = 0
    for message in record.messages():
        if message.role == "assistant":
            break
        total += layout + message.images * (max(1, tokens_per_image) + 1) + len(message.text.encode())
    return total


def _token_problems(
    record: Record, tokenizer: PreTrainedTokenizerBase, max_length: int, tokens_per_image: int
) -> list[Problem]:
    messages = record.messages()
    # There is something to learn from exactly if the first answer is not cut off: later turns can wait.
    answer = next(number for number, message in enumerate(messages, 1) if message.role == "assistant")
    rendered = render_conversation(
        tokenizer,
        messages[:answer],
        image_token_id=_PICTURE_ID,
        tokens_per_image=max(1, tokens_per_image),
    )
    trained = (place for place, label in enumerate(rendered.labels) if label != IGNORE_INDEX)
    before = next(trained, len(rendered.labels))
    if before < max_length:
        return []
    text = f"has no token left to train on: its first answer starts after {before} tokens of {max_length}"
    return [Problem("tokens", text, f"shorten its first turns or raise the maximum length above {before}")]


def _id_of(row: Any) -> str | None:
    value = row.get("id") if isinstance(row, dict) else None
    return None if value is None else str(value)
